-- flattened_events of one day of event time [?, ?) and of all days before it.
WITH params AS (
  SELECT CAST(? AS TIMESTAMP) AS day_start, CAST(? AS TIMESTAMP) AS day_end
),
seen AS (
  SELECT f.user_id, MIN(f.event_timestamp) AS first_seen, MAX(f.event_timestamp) AS last_seen
  FROM flattened_events f
  CROSS JOIN params p
  WHERE f.event_timestamp < p.day_end
  GROUP BY f.user_id
)
SELECT
  COUNT(*) AS users,
  COUNT(CASE WHEN s.first_seen >= p.day_start THEN 1 END) AS new_users,
  COUNT(CASE WHEN s.first_seen < p.day_start THEN 1 END) AS returning_users
FROM seen s
CROSS JOIN params p
WHERE s.last_seen >= p.day_start
