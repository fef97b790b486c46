-- flattened_events of one day of event time [?, ?).
SELECT
  f.country, f.region,
  COUNT(*) AS events,
  COUNT(CASE WHEN f.event_name = 'Search' THEN 1 END) AS searches,
  COUNT(CASE WHEN f.event_name = 'ViewContent' THEN 1 END) AS views,
  COUNT(CASE WHEN f.event_name = 'AddToCart' THEN 1 END) AS add_to_carts,
  COUNT(CASE WHEN f.event_name = 'Purchase' THEN 1 END) AS purchases,
  COUNT(DISTINCT f.user_id) AS users,
  CAST(COALESCE(SUM(CASE WHEN f.event_name = 'Purchase' THEN f.price END), 0) AS DECIMAL(28,2)) AS revenue
FROM flattened_events f
WHERE f.event_timestamp >= CAST(? AS TIMESTAMP) AND f.event_timestamp < CAST(? AS TIMESTAMP)
GROUP BY f.country, f.region
ORDER BY f.country ASC NULLS LAST, f.region ASC NULLS LAST
