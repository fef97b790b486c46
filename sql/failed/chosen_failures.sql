-- Failures to replay: of these types, stages and record_ids (?, ?, ?; an empty list takes all), with the outcomes that
-- replays of each have had. failed_events: of an hour; replays: of its records.
WITH params AS (
  SELECT CAST(? AS VARCHAR[]) AS types, CAST(? AS VARCHAR[]) AS stages, CAST(? AS VARCHAR[]) AS record_ids
),
outcomes AS (
  SELECT r.record_id, r.stage, LIST(DISTINCT [r.outcome, r.type, r.field, r.reason, r.handler_version]) AS known
  FROM replays r
  GROUP BY r.record_id, r.stage
)
SELECT f.record_id, f.arrival_timestamp, f.stage, f.type, f.raw_data, COALESCE(o.known, []) AS known
FROM failed_events f
CROSS JOIN params p
LEFT JOIN outcomes o ON o.record_id = f.record_id AND o.stage = f.stage
WHERE f.state = 'failed'
  AND (len(p.types) = 0 OR list_contains(p.types, f.type))
  AND (len(p.stages) = 0 OR list_contains(p.stages, f.stage))
  AND (len(p.record_ids) = 0 OR list_contains(p.record_ids, f.record_id))
ORDER BY f.stage ASC, f.arrival_timestamp ASC, f.record_id ASC
