-- flattened_events of one day of event time [?, ?). A city's coordinates are the mean of its events', cut to millionths of
-- a degree: computed in whole ones, which every engine divides alike.
WITH cities AS (
  SELECT
    f.country, f.region, f.city,
    COUNT(*) AS events,
    COUNT(CASE WHEN f.event_name = 'Search' THEN 1 END) AS searches,
    COUNT(CASE WHEN f.event_name = 'ViewContent' THEN 1 END) AS views,
    COUNT(CASE WHEN f.event_name = 'AddToCart' THEN 1 END) AS add_to_carts,
    COUNT(CASE WHEN f.event_name = 'Purchase' THEN 1 END) AS purchases,
    SUM(CAST(FLOOR(f.latitude * 1000000 + 0.5) AS BIGINT)) AS north,
    NULLIF(COUNT(f.latitude), 0) AS latitudes,
    SUM(CAST(FLOOR(f.longitude * 1000000 + 0.5) AS BIGINT)) AS east,
    NULLIF(COUNT(f.longitude), 0) AS longitudes
  FROM flattened_events f
  WHERE f.event_timestamp >= CAST(? AS TIMESTAMP) AND f.event_timestamp < CAST(? AS TIMESTAMP)
  GROUP BY f.country, f.region, f.city
)
SELECT
  c.country, c.region, c.city, c.events, c.searches, c.views, c.add_to_carts, c.purchases,
  CAST((c.north - c.north % c.latitudes) / c.latitudes AS DOUBLE) / 1000000 AS latitude,
  CAST((c.east - c.east % c.longitudes) / c.longitudes AS DOUBLE) / 1000000 AS longitude
FROM cities c
ORDER BY c.country ASC NULLS LAST, c.region ASC NULLS LAST, c.city ASC NULLS LAST
