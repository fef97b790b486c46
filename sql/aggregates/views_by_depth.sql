-- flattened_events of one day of event time [?, ?). Depth is cut to whole tens; 100 stands alone.
WITH views AS (
  SELECT CAST(FLOOR(f.percent_viewed / 10) * 10 AS BIGINT) AS depth
  FROM flattened_events f
  WHERE f.event_timestamp >= CAST(? AS TIMESTAMP) AND f.event_timestamp < CAST(? AS TIMESTAMP)
    AND f.event_name = 'ViewContent'
)
SELECT v.depth, COUNT(*) AS views
FROM views v
GROUP BY v.depth
ORDER BY v.depth ASC NULLS LAST
