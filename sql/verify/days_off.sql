-- Days on which the events of an additive aggregate are not the rows of flattened_events; without those of days_behind.
-- additive: the names of all of them; additive_aggregates: aggregate, date, events of their rows.
WITH flattened AS (
  SELECT CAST(f.event_timestamp AS DATE) AS date, COUNT(*) AS events
  FROM flattened_events f
  GROUP BY 1
),
expected AS (
  SELECT a.aggregate, f.date, f.events
  FROM flattened f
  CROSS JOIN additive a
),
summed AS (
  SELECT a.aggregate, a.date, SUM(a.events) AS events
  FROM additive_aggregates a
  GROUP BY 1, 2
)
SELECT
  COALESCE(e.aggregate, s.aggregate) AS aggregate, COALESCE(e.date, s.date) AS date,
  COALESCE(e.events, 0) AS flattened, COALESCE(s.events, 0) AS aggregated
FROM expected e
FULL OUTER JOIN summed s ON s.aggregate = e.aggregate AND s.date = e.date
WHERE COALESCE(e.events, 0) <> COALESCE(s.events, 0)
  AND COALESCE(e.date, s.date) NOT IN (SELECT b.date FROM days_behind b)
