-- Records that were acknowledged, by the file of record_ids ?, and are not in raw_events.
SELECT a.record_id
FROM read_csv(?, columns = {'record_id': 'VARCHAR'}, header = false) a
WHERE NOT EXISTS (SELECT 1 FROM raw_events r WHERE r.record_id = a.record_id)
