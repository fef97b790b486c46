-- flattened_events of one day of event time [?, ?). A user stands in the hour of the day's first ViewContent, once.
WITH params AS (
  SELECT CAST(? AS TIMESTAMP) AS day_start, CAST(? AS TIMESTAMP) AS day_end
),
acts AS /* NOT MATERIALIZED */ (
  SELECT f.user_id, f.event_name, f.event_timestamp
  FROM flattened_events f
  CROSS JOIN params p
  WHERE f.event_timestamp >= p.day_start AND f.event_timestamp < p.day_end
    AND f.event_name IN ('ViewContent', 'AddToCart', 'Purchase')
),
viewers AS (
  SELECT a.user_id, MIN(a.event_timestamp) AS viewed_at
  FROM acts a
  WHERE a.event_name = 'ViewContent'
  GROUP BY a.user_id
),
carters AS (
  SELECT a.user_id, MIN(a.event_timestamp) AS carted_at
  FROM acts a
  JOIN viewers v ON v.user_id = a.user_id
  WHERE a.event_name = 'AddToCart' AND a.event_timestamp >= v.viewed_at
  GROUP BY a.user_id
),
buyers AS (
  SELECT a.user_id
  FROM acts a
  JOIN carters c ON c.user_id = a.user_id
  WHERE a.event_name = 'Purchase' AND a.event_timestamp >= c.carted_at
  GROUP BY a.user_id
),
hours AS (
  SELECT
    DATE_TRUNC('hour', v.viewed_at) AS hour,
    COUNT(*) AS viewers, COUNT(c.user_id) AS carters, COUNT(b.user_id) AS buyers
  FROM viewers v
  LEFT JOIN carters c ON c.user_id = v.user_id
  LEFT JOIN buyers b ON b.user_id = v.user_id
  GROUP BY DATE_TRUNC('hour', v.viewed_at)
)
SELECT
  h.hour, h.viewers, h.carters, h.buyers,
  CAST(h.carters AS DOUBLE) / NULLIF(h.viewers, 0) AS view_to_cart,
  CAST(h.buyers AS DOUBLE) / NULLIF(h.carters, 0) AS cart_to_purchase,
  CAST(h.buyers AS DOUBLE) / NULLIF(h.viewers, 0) AS conversion
FROM hours h
ORDER BY h.hour ASC NULLS LAST
