-- Records of raw_events that are in neither enriched_events nor failed_events; in hours still open too if ? is true;
-- without those of arrivals_behind.
WITH judged AS (
  SELECT l.arrival_hour
  FROM event_ledger l
  WHERE (l.state <> 'open' OR CAST(? AS BOOLEAN)) AND l.arrival_hour NOT IN (SELECT b.arrival_hour FROM arrivals_behind b)
)
SELECT DISTINCT DATE_TRUNC('hour', r.arrival_timestamp) AS arrival_hour, r.record_id
FROM raw_events r
WHERE DATE_TRUNC('hour', r.arrival_timestamp) IN (SELECT j.arrival_hour FROM judged j)
  AND NOT EXISTS (SELECT 1 FROM enriched_events e WHERE e.record_id = r.record_id)
  AND NOT EXISTS (SELECT 1 FROM failed_events f WHERE f.record_id = r.record_id)
