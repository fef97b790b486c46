-- flattened_events of one day of event time [?, ?).
SELECT
  f.user_id,
  MAX(f.name) AS name,
  COUNT(CASE WHEN f.event_name = 'Search' THEN 1 END) AS searches,
  COUNT(CASE WHEN f.event_name = 'ViewContent' THEN 1 END) AS views,
  COUNT(CASE WHEN f.event_name = 'AddToCart' THEN 1 END) AS add_to_carts,
  COUNT(CASE WHEN f.event_name = 'Purchase' THEN 1 END) AS purchases,
  COUNT(*) AS events,
  CAST(COALESCE(SUM(CASE WHEN f.event_name = 'Purchase' THEN f.price END), 0) AS DECIMAL(28,2)) AS revenue,
  MIN(f.event_timestamp) AS first_seen,
  MAX(f.event_timestamp) AS last_seen
FROM flattened_events f
WHERE f.event_timestamp >= CAST(? AS TIMESTAMP) AND f.event_timestamp < CAST(? AS TIMESTAMP)
GROUP BY f.user_id
ORDER BY f.user_id ASC NULLS LAST
