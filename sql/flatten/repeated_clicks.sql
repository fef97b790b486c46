-- Event hours in which a click_id stands more than once, and how many rows that is too many.
SELECT DATE_TRUNC('hour', f.event_timestamp) AS event_hour, COUNT(*) - COUNT(DISTINCT f.click_id) AS repeated
FROM flattened_events f
GROUP BY DATE_TRUNC('hour', f.event_timestamp)
HAVING COUNT(*) > COUNT(DISTINCT f.click_id)
ORDER BY event_hour
