-- The sessions that start on one day of event time [?, ?), from flattened_events of it, the day before and the day after.
-- A visit is a user's events without a pause of more than 30 minutes. Its part on a day belongs to the session at its
-- begin, for 24 hours. What goes on longer is cut there, and at every midnight once it has lasted a whole day: that can be
-- told from one day before, however long the visit.
WITH params AS (
  SELECT CAST(? AS TIMESTAMP) AS day_start, CAST(? AS TIMESTAMP) AS day_end
),
ordered AS (
  SELECT
    f.user_id, f.event_timestamp, f.event_name,
    CAST(ROW_NUMBER() OVER (
      PARTITION BY f.user_id ORDER BY f.event_timestamp ASC NULLS LAST, f.click_id ASC NULLS LAST
    ) AS BIGINT) AS seq
  FROM flattened_events f
  CROSS JOIN params p
  WHERE f.event_timestamp >= p.day_start - INTERVAL '1' DAY AND f.event_timestamp < p.day_end + INTERVAL '1' DAY
),
spaced AS (
  SELECT
    o.user_id, o.event_timestamp, o.event_name, o.seq,
    LAG(o.event_timestamp) OVER (PARTITION BY o.user_id ORDER BY o.seq ASC NULLS LAST) AS previous
  FROM ordered o
),
numbered AS (
  SELECT
    s.user_id, s.event_timestamp, s.event_name, s.seq,
    CAST(SUM(CASE WHEN s.event_timestamp > s.previous + INTERVAL '30' MINUTE THEN 1 ELSE 0 END) OVER (
      PARTITION BY s.user_id ORDER BY s.seq ASC NULLS LAST ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
    ) AS BIGINT) AS visit
  FROM spaced s
),
visits AS (
  SELECT
    n.user_id, n.event_timestamp, n.event_name, n.seq, n.visit,
    DATE_TRUNC('day', n.event_timestamp) AS midnight,
    MIN(n.event_timestamp) OVER (PARTITION BY n.user_id, n.visit) AS visit_start
  FROM numbered n
),
cut AS (
  SELECT
    v.user_id, v.event_timestamp, v.event_name, v.seq, v.visit,
    CASE
      WHEN v.visit_start >= v.midnight THEN v.visit_start
      WHEN v.visit_start + INTERVAL '24' HOUR < v.midnight + INTERVAL '30' MINUTE THEN v.midnight
      WHEN v.event_timestamp < v.visit_start + INTERVAL '24' HOUR THEN v.visit_start
      ELSE v.visit_start + INTERVAL '24' HOUR
    END AS session_key
  FROM visits v
),
edged AS (
  SELECT
    c.user_id, c.visit, c.session_key, c.event_timestamp, c.event_name, c.seq,
    MIN(c.seq) OVER (PARTITION BY c.user_id, c.visit, c.session_key) AS first_seq,
    MAX(c.seq) OVER (PARTITION BY c.user_id, c.visit, c.session_key) AS last_seq
  FROM cut c
),
sessions AS (
  SELECT
    e.user_id, e.visit, e.session_key,
    MIN(e.event_timestamp) AS session_start,
    MAX(e.event_timestamp) AS session_end,
    COUNT(*) AS events,
    MAX(CASE WHEN e.seq = e.first_seq THEN e.event_name END) AS entry_action,
    MAX(CASE WHEN e.seq = e.last_seq THEN e.event_name END) AS exit_action,
    MAX(CASE WHEN e.event_name = 'Purchase' THEN 1 ELSE 0 END) AS converted
  FROM edged e
  GROUP BY e.user_id, e.visit, e.session_key
)
SELECT
  s.user_id,
  s.session_start,
  s.session_end,
  CAST(
    (EXTRACT(HOUR FROM s.session_end) - EXTRACT(HOUR FROM s.session_start)) * 3600
    + (EXTRACT(MINUTE FROM s.session_end) - EXTRACT(MINUTE FROM s.session_start)) * 60
    + CAST(EXTRACT(SECOND FROM s.session_end) AS BIGINT) - CAST(EXTRACT(SECOND FROM s.session_start) AS BIGINT)
    + CASE WHEN s.session_end >= p.day_end THEN 86400 ELSE 0 END
  AS BIGINT) AS duration_seconds,
  s.events,
  s.entry_action,
  s.exit_action,
  CAST(s.converted AS BIGINT) AS converted
FROM sessions s
CROSS JOIN params p
WHERE s.session_start >= p.day_start AND s.session_start < p.day_end
ORDER BY s.user_id ASC NULLS LAST, s.session_start ASC NULLS LAST
