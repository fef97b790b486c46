-- How many users latest_search_by_user has wrong, held against the Search events of flattened_events: those who stand in
-- it more than once, are missing, never searched, or have another last Search. Athena knows a moment to the millisecond.
WITH searched AS (
  SELECT f.user_id, MAX(f.event_timestamp) AS last_search
  FROM flattened_events f
  WHERE f.event_name = 'Search'
  GROUP BY f.user_id
),
reported AS (
  SELECT r.user_id, COUNT(*) AS row_count, MIN(r.last_search) AS last_search
  FROM latest_search_by_user r
  GROUP BY r.user_id
)
SELECT
  COUNT(CASE WHEN r.row_count > 1 THEN 1 END) AS repeated_users,
  COUNT(CASE WHEN r.user_id IS NULL THEN 1 END) AS missing_users,
  COUNT(CASE WHEN s.user_id IS NULL THEN 1 END) AS unknown_users,
  COUNT(CASE WHEN r.user_id = s.user_id AND COALESCE(
    r.last_search NOT BETWEEN s.last_search - INTERVAL '0.001' SECOND AND s.last_search + INTERVAL '0.001' SECOND, TRUE
  ) THEN 1 END) AS outdated_users
FROM searched s
FULL OUTER JOIN reported r ON r.user_id = s.user_id
