-- flattened_events of one day of event time [?, ?). The average is of the views that say how long they took.
WITH products AS (
  SELECT
    f.product_id,
    COUNT(CASE WHEN f.event_name = 'ViewContent' THEN 1 END) AS views,
    COUNT(CASE WHEN f.event_name = 'ViewContent' THEN f.time_on_data END) AS timed_views,
    CAST(COALESCE(SUM(CASE WHEN f.event_name = 'ViewContent' THEN CAST(f.time_on_data AS DECIMAL(18,0)) END), 0)
      AS DECIMAL(28,0)) AS time_on_views,
    COUNT(CASE WHEN f.event_name = 'AddToCart' THEN 1 END) AS add_to_carts,
    COUNT(CASE WHEN f.event_name = 'Purchase' THEN 1 END) AS purchases,
    CAST(COALESCE(SUM(CASE WHEN f.event_name = 'Purchase' THEN f.price END), 0) AS DECIMAL(28,2)) AS revenue,
    COUNT(*) AS events
  FROM flattened_events f
  WHERE f.event_timestamp >= CAST(? AS TIMESTAMP) AND f.event_timestamp < CAST(? AS TIMESTAMP)
  GROUP BY f.product_id
)
SELECT
  p.product_id, p.views, p.timed_views, p.time_on_views,
  CAST(p.time_on_views AS DOUBLE) / NULLIF(p.timed_views, 0) AS average_time_on_view,
  p.add_to_carts, p.purchases, p.revenue, p.events
FROM products p
ORDER BY p.product_id ASC NULLS LAST
