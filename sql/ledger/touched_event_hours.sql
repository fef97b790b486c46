-- The event hours of an hour's rows.
SELECT DISTINCT DATE_TRUNC('hour', e.timestamp) AS event_hour
FROM enriched_events e
