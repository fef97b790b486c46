-- flattened_events of one day of event time [?, ?).
SELECT
  f.country, f.region,
  COUNT(*) AS events,
  COUNT(DISTINCT f.user_id) AS users,
  CAST(COALESCE(SUM(CASE WHEN f.event_name = 'Purchase' THEN f.price END), 0) AS DECIMAL(22,2)) AS revenue
FROM flattened_events f
WHERE f.event_timestamp >= CAST(? AS TIMESTAMP) AND f.event_timestamp < CAST(? AS TIMESTAMP)
GROUP BY f.country, f.region
ORDER BY f.country ASC NULLS LAST, f.region ASC NULLS LAST
