-- flattened_events of one day of event time [?, ?).
SELECT f.event_name, COUNT(*) AS events
FROM flattened_events f
WHERE f.event_timestamp >= CAST(? AS TIMESTAMP) AND f.event_timestamp < CAST(? AS TIMESTAMP)
GROUP BY f.event_name
ORDER BY f.event_name ASC NULLS LAST
