-- flattened_events of one day of event time [?, ?) and of all days before it. Weeks begin on Monday.
WITH params AS (
  SELECT
    CAST(? AS TIMESTAMP) AS day_start, CAST(? AS TIMESTAMP) AS day_end
),
weeks AS (
  SELECT p.day_start, p.day_end, DATE_TRUNC('week', p.day_start) AS week_start
  FROM params p
),
seen AS (
  SELECT
    f.user_id,
    MIN(f.event_timestamp) AS first_seen,
    MIN(CASE WHEN f.event_timestamp >= w.week_start THEN f.event_timestamp END) AS seen_this_week
  FROM flattened_events f
  CROSS JOIN weeks w
  WHERE f.event_timestamp < w.day_end
  GROUP BY f.user_id
),
cohorts AS (
  SELECT
    DATE_TRUNC('week', s.first_seen) AS cohort_start,
    w.week_start AS week_start,
    COUNT(*) AS users
  FROM seen s
  CROSS JOIN weeks w
  WHERE s.seen_this_week >= w.day_start
  GROUP BY DATE_TRUNC('week', s.first_seen), w.week_start
)
SELECT
  CAST(c.cohort_start AS DATE) AS cohort_week,
  CAST(EXTRACT(DAY FROM c.week_start - c.cohort_start) / 7 AS BIGINT) AS week,
  c.users
FROM cohorts c
ORDER BY c.cohort_start ASC NULLS LAST
