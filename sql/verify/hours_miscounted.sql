-- Hours whose event_ledger is red or does not say what a count of the tables says; hours still open too if ? is true;
-- without those of arrivals_behind.
WITH judged AS (
  SELECT l.*
  FROM event_ledger l
  WHERE (l.state <> 'open' OR CAST(? AS BOOLEAN)) AND l.arrival_hour NOT IN (SELECT b.arrival_hour FROM arrivals_behind b)
),
raw AS (
  SELECT DATE_TRUNC('hour', r.arrival_timestamp) AS arrival_hour, COUNT(DISTINCT r.record_id) AS records
  FROM raw_events r
  GROUP BY 1
),
enriched AS (
  SELECT DATE_TRUNC('hour', e.arrival_timestamp) AS arrival_hour, COUNT(DISTINCT e.record_id) AS records
  FROM enriched_events e
  GROUP BY 1
)
SELECT
  j.arrival_hour, j.state, j.raw_records, j.enriched_records, j.failed_records, j.missing_records, j.unknown_records,
  COALESCE(r.records, 0) AS raw_counted, COALESCE(e.records, 0) AS enriched_counted
FROM judged j
LEFT JOIN raw r ON r.arrival_hour = j.arrival_hour
LEFT JOIN enriched e ON e.arrival_hour = j.arrival_hour
WHERE j.state = 'red' OR j.missing_records <> 0 OR j.unknown_records <> 0
  OR j.raw_records <> j.enriched_records + j.failed_records
  OR j.raw_records <> COALESCE(r.records, 0)
  OR j.enriched_records <> COALESCE(e.records, 0)
