-- Rows of landing whose identity is not in raw.
SELECT e.*
FROM enriched_landing e
WHERE NOT EXISTS (SELECT 1 FROM raw_events r WHERE r.record_id = e.record_id)
