-- Clicks that stand more than once in an hour of event time of flattened_events.
SELECT DATE_TRUNC('hour', f.event_timestamp) AS event_hour, f.click_id, COUNT(*) AS rows_found
FROM flattened_events f
GROUP BY 1, 2
HAVING COUNT(*) > 1
