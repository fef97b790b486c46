-- flattened_events of one day of event time [?, ?): the ten busiest regions.
WITH regions AS (
  SELECT f.country, f.region, COUNT(*) AS events
  FROM flattened_events f
  WHERE f.event_timestamp >= CAST(? AS TIMESTAMP) AND f.event_timestamp < CAST(? AS TIMESTAMP)
    AND f.region IS NOT NULL
  GROUP BY f.country, f.region
),
ranked AS (
  SELECT
    CAST(ROW_NUMBER() OVER (
      ORDER BY r.events DESC NULLS LAST, r.region ASC NULLS LAST, r.country ASC NULLS LAST
    ) AS BIGINT) AS rank,
    r.country, r.region, r.events
  FROM regions r
)
SELECT k.rank, k.country, k.region, k.events
FROM ranked k
WHERE k.rank <= 10
ORDER BY k.rank ASC NULLS LAST
