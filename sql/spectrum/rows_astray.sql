-- Rows of an hour's partition that are of another hour by their own time: none, unless Spectrum misreads it.
SELECT COUNT(*) - COUNT(CASE WHEN event_timestamp >= ? AND event_timestamp < ? THEN 1 END) AS rows_astray
FROM flattened_events
