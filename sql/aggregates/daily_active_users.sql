-- flattened_events of one day of event time [?, ?) and of the 29 days before it.
WITH params AS (
  SELECT CAST(? AS TIMESTAMP) AS day_start, CAST(? AS TIMESTAMP) AS day_end
),
seen AS (
  SELECT f.user_id, MAX(f.event_timestamp) AS last_seen
  FROM flattened_events f
  CROSS JOIN params p
  WHERE f.event_timestamp >= p.day_start - INTERVAL '29' DAY AND f.event_timestamp < p.day_end
  GROUP BY f.user_id
),
counted AS (
  SELECT
    COUNT(CASE WHEN s.last_seen >= p.day_start THEN 1 END) AS users,
    COUNT(CASE WHEN s.last_seen >= p.day_start - INTERVAL '6' DAY THEN 1 END) AS users_7_days,
    COUNT(*) AS users_30_days
  FROM seen s
  CROSS JOIN params p
)
SELECT
  c.users, c.users_7_days, c.users_30_days,
  CAST(c.users AS DOUBLE) / NULLIF(c.users_30_days, 0) AS stickiness
FROM counted c
