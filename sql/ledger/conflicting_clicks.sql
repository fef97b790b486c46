-- One row: how many rows of the hour repeat a click_id of it, how many click_ids of the hour stand with other content,
-- and the first few of these. Content is what the client sent, and with its timestamp the event hour; the address belongs
-- to the delivery, whose edge may vouch for it.
-- enriched_events: the hour's rows; elsewhere: those of other hours of arrival; shared_clicks: click_ids to compare.
WITH compared AS (
  SELECT e.*, TRUE AS is_own
  FROM enriched_events e
  WHERE hash(e.click_id) IN (SELECT s.click FROM shared_clicks s)
  UNION ALL
  SELECT o.*, FALSE
  FROM elsewhere o
  WHERE hash(o.click_id) IN (SELECT s.click FROM shared_clicks s)
    AND DATE_TRUNC('hour', o.timestamp) IN (SELECT DATE_TRUNC('hour', e.timestamp) FROM enriched_events e)
),
clicks AS (
  SELECT
    c.click_id,
    COUNT(CASE WHEN c.is_own THEN 1 END) AS own_rows,
    COUNT(DISTINCT hash(
      c.timestamp, c.user_id, c.pixel_id, c.insertion_timestamp, c.event_name, c.additional_data,
      json_merge_patch(COALESCE(c.extra, '{}'), '{"user_ip": null}')
    )) AS contents
  FROM compared c
  GROUP BY c.click_id
)
SELECT
  CAST(COALESCE(SUM(k.own_rows - 1), 0) AS BIGINT) AS repeated_clicks,
  COUNT(CASE WHEN k.contents > 1 THEN 1 END) AS conflicting_clicks,
  COALESCE(MIN(CASE WHEN k.contents > 1 THEN k.click_id END, 5), []) AS conflict_examples
FROM clicks k
WHERE k.own_rows > 0
