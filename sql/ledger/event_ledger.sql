-- One row: the hour of arrival ?, compared by identity; whether it is closed (?).
-- raw_events, enriched_events, failed_events: the hour's records; in_flight: those of raw that delivery is still writing;
-- previous: the hour's ledger as it stands, if any.
WITH params AS (
  SELECT CAST(? AS TIMESTAMP) AS arrival_hour, CAST(? AS BOOLEAN) AS closed
),
raw AS (
  SELECT r.record_id, COUNT(*) AS deliveries
  FROM raw_events r
  WHERE NOT EXISTS (SELECT 1 FROM in_flight i WHERE i.record_id = r.record_id)
  GROUP BY r.record_id
),
enriched AS (
  SELECT DISTINCT e.record_id
  FROM enriched_events e
  WHERE NOT EXISTS (SELECT 1 FROM in_flight i WHERE i.record_id = e.record_id)
),
failed AS (
  SELECT f.record_id, MIN(f.type) AS type
  FROM failed_events f
  WHERE NOT EXISTS (SELECT 1 FROM in_flight i WHERE i.record_id = f.record_id)
    AND NOT EXISTS (SELECT 1 FROM enriched e WHERE e.record_id = f.record_id)
  GROUP BY f.record_id
),
accounted AS (
  SELECT e.record_id FROM enriched e UNION ALL SELECT f.record_id FROM failed f
),
-- Content is what the client sent; the address belongs to the delivery, whose edge may vouch for it.
conflicts AS (
  SELECT e.click_id
  FROM enriched_events e
  GROUP BY e.click_id
  HAVING COUNT(DISTINCT hash(
    e.timestamp, e.user_id, e.pixel_id, e.insertion_timestamp, e.event_name, e.additional_data,
    json_merge_patch(COALESCE(e.extra, '{}'), '{"user_ip": null}')
  )) > 1
),
counted AS (
  SELECT
    (SELECT COUNT(*) FROM raw) AS raw_records,
    (SELECT COUNT(*) FROM enriched) AS enriched_records,
    (SELECT COUNT(*) FROM failed) AS failed_records,
    (SELECT COUNT(*) FROM raw r WHERE NOT EXISTS (SELECT 1 FROM accounted a WHERE a.record_id = r.record_id))
      AS missing_records,
    (SELECT COUNT(*) FROM accounted a WHERE NOT EXISTS (SELECT 1 FROM raw r WHERE r.record_id = a.record_id))
      AS unknown_records,
    (SELECT CAST(COALESCE(SUM(r.deliveries - 1), 0) AS BIGINT) FROM raw r) AS repeated_deliveries,
    (SELECT COUNT(*) - COUNT(DISTINCT e.click_id) FROM enriched_events e) AS repeated_clicks,
    (SELECT COUNT(*) FROM conflicts) AS conflicting_clicks,
    (SELECT COUNT(*) FROM enriched_events e WHERE regexp_matches(e.missing_reasons, 'lookup_failed(,|$)'))
      AS degraded_records
),
failures AS (
  SELECT COALESCE(CAST(json_group_object(t.type, t.records) AS VARCHAR), '{}') AS failures_by_type
  FROM (SELECT f.type, COUNT(*) AS records FROM failed f GROUP BY f.type ORDER BY f.type) t
),
-- An event hour that was touched before and is not any more stays, with no events: what was flattened from it must go.
touched AS (
  SELECT
    DATE_TRUNC('hour', e.timestamp) AS event_hour,
    COUNT(*) AS events,
    md5(CAST(SUM(CAST(hash(e) AS HUGEINT)) AS VARCHAR)) AS version
  FROM enriched_events e
  GROUP BY 1
  UNION ALL
  SELECT p.event_hour, 0, ''
  FROM (SELECT UNNEST(touched_event_hours).event_hour AS event_hour FROM previous) p
  WHERE NOT EXISTS (SELECT 1 FROM enriched_events e WHERE DATE_TRUNC('hour', e.timestamp) = p.event_hour)
),
listed AS (
  SELECT LIST({event_hour: t.event_hour, events: t.events, version: t.version} ORDER BY t.event_hour) AS hours
  FROM touched t
)
SELECT
  p.arrival_hour,
  CASE
    WHEN NOT p.closed THEN 'open'
    WHEN c.missing_records = 0 AND c.unknown_records = 0 THEN 'balanced'
    ELSE 'red'
  END AS state,
  c.raw_records, c.enriched_records, c.failed_records, c.missing_records, c.unknown_records,
  c.repeated_deliveries, c.repeated_clicks, c.conflicting_clicks, c.degraded_records,
  f.failures_by_type,
  COALESCE(l.hours, []) AS touched_event_hours,
  md5(CAST((p.closed, c, f.failures_by_type, l.hours) AS VARCHAR)) AS version
FROM params p, counted c, failures f, listed l
