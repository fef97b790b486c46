-- Records of enriched_events or failed_events that are not in raw_events; in hours still open too if ? is true;
-- without those of arrivals_behind.
WITH judged AS (
  SELECT l.arrival_hour
  FROM event_ledger l
  WHERE (l.state <> 'open' OR CAST(? AS BOOLEAN)) AND l.arrival_hour NOT IN (SELECT b.arrival_hour FROM arrivals_behind b)
),
accounted AS (
  SELECT e.arrival_timestamp, e.record_id FROM enriched_events e
  UNION ALL
  SELECT f.arrival_timestamp, f.record_id FROM failed_events f
)
SELECT DISTINCT DATE_TRUNC('hour', a.arrival_timestamp) AS arrival_hour, a.record_id
FROM accounted a
WHERE DATE_TRUNC('hour', a.arrival_timestamp) IN (SELECT j.arrival_hour FROM judged j)
  AND NOT EXISTS (SELECT 1 FROM raw_events r WHERE r.record_id = a.record_id)
