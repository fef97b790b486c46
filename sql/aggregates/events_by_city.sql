-- flattened_events of one day of event time [?, ?). A city's coordinates are the mean of its events'.
SELECT
  f.country, f.region, f.city,
  COUNT(*) AS events,
  CAST(SUM(CAST(f.latitude AS DECIMAL(9,6))) AS DOUBLE) / NULLIF(COUNT(f.latitude), 0) AS latitude,
  CAST(SUM(CAST(f.longitude AS DECIMAL(9,6))) AS DOUBLE) / NULLIF(COUNT(f.longitude), 0) AS longitude
FROM flattened_events f
WHERE f.event_timestamp >= CAST(? AS TIMESTAMP) AND f.event_timestamp < CAST(? AS TIMESTAMP)
GROUP BY f.country, f.region, f.city
ORDER BY f.country ASC NULLS LAST, f.region ASC NULLS LAST, f.city ASC NULLS LAST
