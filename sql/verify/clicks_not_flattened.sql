-- Clicks of enriched_events that flattened_events does not have; of hours still open too if ? is true;
-- without those of arrivals_behind and hours_behind.
WITH judged AS (
  SELECT l.arrival_hour
  FROM event_ledger l
  WHERE (l.state <> 'open' OR CAST(? AS BOOLEAN)) AND l.arrival_hour NOT IN (SELECT b.arrival_hour FROM arrivals_behind b)
)
SELECT DISTINCT DATE_TRUNC('hour', e.timestamp) AS event_hour, e.click_id
FROM enriched_events e
WHERE DATE_TRUNC('hour', e.arrival_timestamp) IN (SELECT j.arrival_hour FROM judged j)
  AND DATE_TRUNC('hour', e.timestamp) NOT IN (SELECT b.event_hour FROM hours_behind b)
  AND NOT EXISTS (
    SELECT 1
    FROM flattened_events f
    WHERE f.click_id = e.click_id
      AND DATE_TRUNC('hour', f.event_timestamp) = DATE_TRUNC('hour', e.timestamp)
  )
