-- Days, weeks and all days together of which an aggregate breaks an invariant; without those that days_behind are of.
-- invariants: aggregate, measured, relation, counted, period; measured: of these, the value of every period, by its begin.
WITH flattened AS (
  SELECT
    p.period, begin_of(p.period, CAST(f.event_timestamp AS DATE)) AS begin,
    COUNT(*) AS events, COUNT(DISTINCT f.user_id) AS users
  FROM flattened_events f
  CROSS JOIN (SELECT DISTINCT i.period FROM invariants i) p
  GROUP BY 1, 2
),
periods AS (
  SELECT i.aggregate, i.measured, f.begin FROM invariants i JOIN flattened f ON f.period = i.period
  UNION
  SELECT m.aggregate, m.measured, m.begin FROM measured m
),
compared AS (
  SELECT
    p.aggregate, i.period, p.begin, p.measured, COALESCE(m.value, 0) AS value, i.relation, i.counted,
    COALESCE(CASE i.counted WHEN 'events' THEN f.events WHEN 'users' THEN f.users END, 0) AS expected
  FROM periods p
  JOIN invariants i ON i.aggregate = p.aggregate AND i.measured = p.measured
  LEFT JOIN measured m ON m.aggregate = p.aggregate AND m.measured = p.measured AND m.begin = p.begin
  LEFT JOIN flattened f ON f.period = i.period AND f.begin = p.begin
)
SELECT c.aggregate, c.period, c.begin, c.measured, c.value, c.relation, c.counted, c.expected
FROM compared c
WHERE NOT (c.value = c.expected OR (c.relation = '<=' AND c.value < c.expected))
  AND NOT EXISTS (SELECT 1 FROM days_behind b WHERE begin_of(c.period, b.date) = c.begin)
ORDER BY ALL
