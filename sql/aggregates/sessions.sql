-- The sessions that start on one day of event time [?, ?), from flattened_events of it, the day before and the day after.
-- A visit is a user's events without a pause of more than 30 minutes. Its part on a day belongs to the session at its
-- begin, for 24 hours. What goes on longer is cut there, and at every midnight once it has lasted a whole day: that can be
-- told from one day before, however long the visit.
-- A session's first and last event are told from the events beside them: whole visits need not be ranked again. Events at
-- one moment are in the order of their names, and those of one name are alike here.
WITH params AS (
  SELECT CAST(? AS TIMESTAMP) AS day_start, CAST(? AS TIMESTAMP) AS day_end
),
ordered AS (
  SELECT
    f.user_id, f.event_timestamp, f.event_name,
    CAST(ROW_NUMBER() OVER (
      PARTITION BY f.user_id ORDER BY f.event_timestamp ASC NULLS LAST, f.event_name ASC NULLS LAST
    ) AS BIGINT) AS seq,
    LAG(f.event_timestamp) OVER (
      PARTITION BY f.user_id ORDER BY f.event_timestamp ASC NULLS LAST, f.event_name ASC NULLS LAST
    ) AS previous,
    LEAD(f.event_timestamp) OVER (
      PARTITION BY f.user_id ORDER BY f.event_timestamp ASC NULLS LAST, f.event_name ASC NULLS LAST
    ) AS next
  FROM flattened_events f
  CROSS JOIN params p
  WHERE f.event_timestamp >= p.day_start - INTERVAL '1' DAY AND f.event_timestamp < p.day_end + INTERVAL '1' DAY
),
visits AS (
  SELECT
    o.user_id, o.event_timestamp, o.event_name, o.previous, o.next,
    MAX(CASE WHEN o.previous IS NULL OR o.event_timestamp > o.previous + INTERVAL '30' MINUTE THEN o.event_timestamp END)
      OVER (PARTITION BY o.user_id ORDER BY o.seq ASC NULLS LAST ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)
      AS visit_start
  FROM ordered o
),
cut AS (
  SELECT
    v.user_id, v.event_timestamp, v.event_name, v.previous, v.next, v.visit_start,
    DATE_TRUNC('day', v.event_timestamp) AS midnight,
    CASE
      WHEN v.visit_start < DATE_TRUNC('day', v.visit_start) + INTERVAL '30' MINUTE
      THEN DATE_TRUNC('day', v.visit_start) + INTERVAL '1' DAY
      ELSE v.visit_start + INTERVAL '24' HOUR
    END AS first_cut
  FROM visits v
),
parts AS (
  SELECT
    c.user_id, c.event_timestamp, c.event_name, c.previous, c.next,
    CASE
      WHEN c.event_timestamp < c.first_cut THEN c.visit_start
      WHEN c.first_cut < c.midnight THEN c.midnight
      ELSE c.first_cut
    END AS part_start,
    CASE WHEN c.event_timestamp < c.first_cut THEN c.first_cut ELSE c.midnight + INTERVAL '1' DAY END AS part_end
  FROM cut c
),
sessions AS (
  SELECT
    s.user_id,
    MIN(s.event_timestamp) AS session_start,
    MAX(s.event_timestamp) AS session_end,
    COUNT(*) AS events,
    MAX(CASE WHEN s.previous IS NULL OR s.previous < s.part_start THEN s.event_name END) AS entry_action,
    MAX(CASE
      WHEN s.next IS NULL OR s.next >= s.part_end OR s.next > s.event_timestamp + INTERVAL '30' MINUTE THEN s.event_name
    END) AS exit_action,
    MAX(CASE WHEN s.event_name = 'Purchase' THEN 1 ELSE 0 END) AS converted
  FROM parts s
  GROUP BY s.user_id, s.part_start
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
