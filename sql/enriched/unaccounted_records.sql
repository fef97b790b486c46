-- Identities that are in raw and in neither enriched nor failed.
SELECT DISTINCT r.record_id
FROM raw_events r
WHERE NOT EXISTS (SELECT 1 FROM enriched_landing e WHERE e.record_id = r.record_id)
  AND NOT EXISTS (SELECT 1 FROM failed_events f WHERE f.record_id = r.record_id)
ORDER BY r.record_id
