-- The hours of arrival that have failures to replay. Parameters and tables as in chosen_failures.sql.
WITH params AS (
  SELECT CAST(? AS VARCHAR[]) AS types, CAST(? AS VARCHAR[]) AS stages, CAST(? AS VARCHAR[]) AS record_ids
)
SELECT DISTINCT DATE_TRUNC('hour', f.arrival_timestamp) AS arrival_hour
FROM failed_events f
CROSS JOIN params p
WHERE f.state = 'failed'
  AND (len(p.types) = 0 OR list_contains(p.types, f.type))
  AND (len(p.stages) = 0 OR list_contains(p.stages, f.stage))
  AND (len(p.record_ids) = 0 OR list_contains(p.record_ids, f.record_id))
