-- Hashes of the click_ids that stand more than once: in the hour, or in it and in another hour of arrival, there in an
-- event hour that this one touches; and the hour of arrival of the other row, null for the hour itself.
-- enriched_events: the hour's rows; elsewhere: the rows of other hours of arrival.
SELECT hash(e.click_id) AS click, CAST(NULL AS TIMESTAMP) AS arrival_hour
FROM enriched_events e
GROUP BY click
HAVING COUNT(*) > 1
UNION ALL
SELECT DISTINCT hash(o.click_id), DATE_TRUNC('hour', o.arrival_timestamp)
FROM elsewhere o
WHERE hash(o.click_id) IN (SELECT hash(e.click_id) FROM enriched_events e)
  AND DATE_TRUNC('hour', o.timestamp) IN (SELECT DATE_TRUNC('hour', e.timestamp) FROM enriched_events e)
