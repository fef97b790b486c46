-- Clicks of flattened_events that enriched_events does not have.
SELECT DATE_TRUNC('hour', f.event_timestamp) AS event_hour, f.click_id
FROM flattened_events f
WHERE NOT EXISTS (
  SELECT 1
  FROM enriched_events e
  WHERE e.click_id = f.click_id
    AND DATE_TRUNC('hour', e.timestamp) = DATE_TRUNC('hour', f.event_timestamp)
)
