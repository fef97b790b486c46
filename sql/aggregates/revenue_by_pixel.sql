-- flattened_events of one day of event time [?, ?), and customer_prices as recorded for that day.
WITH params AS (
  SELECT CAST(? AS TIMESTAMP) AS day_start, CAST(? AS TIMESTAMP) AS day_end
),
prices AS (
  SELECT CAST(c.customer_id AS VARCHAR(20)) AS user_id, c.price_per_click
  FROM customer_prices c
  CROSS JOIN params p
  WHERE c.date = CAST(p.day_start AS DATE)
)
SELECT
  f.pixel_id,
  COUNT(*) AS clicks,
  COUNT(c.price_per_click) AS priced_clicks,
  CAST(COALESCE(SUM(c.price_per_click), 0) AS DECIMAL(28,4)) AS click_cost,
  COUNT(CASE WHEN f.event_name = 'Purchase' THEN 1 END) AS purchases,
  CAST(COALESCE(SUM(CASE WHEN f.event_name = 'Purchase' THEN f.price END), 0) AS DECIMAL(28,2)) AS revenue
FROM flattened_events f
CROSS JOIN params p
LEFT JOIN prices c ON c.user_id = f.user_id
WHERE f.event_timestamp >= p.day_start AND f.event_timestamp < p.day_end
GROUP BY f.pixel_id
ORDER BY f.pixel_id ASC NULLS LAST
