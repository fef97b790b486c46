-- flattened_events of one day of event time [?, ?).
SELECT
  DATE_TRUNC('hour', f.event_timestamp) AS hour, f.event_name,
  COUNT(*) AS events,
  CAST(COALESCE(SUM(CASE WHEN f.event_name = 'Purchase' THEN f.price END), 0) AS DECIMAL(28,2)) AS revenue
FROM flattened_events f
WHERE f.event_timestamp >= CAST(? AS TIMESTAMP) AND f.event_timestamp < CAST(? AS TIMESTAMP)
GROUP BY DATE_TRUNC('hour', f.event_timestamp), f.event_name
ORDER BY hour ASC NULLS LAST, f.event_name ASC NULLS LAST
