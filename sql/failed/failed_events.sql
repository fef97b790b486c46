-- An hour's failures: one row per record_id and stage (what came furthest in its attempts, then by the content's hash), and
-- whether the record has come to a better end since. One that the contract of now finds no fault in keeps its old type.
-- failures: what the stages recorded, typed by the contract of now; previous: the hour's failed_events as they stand;
-- enriched_events: the hour's rows; replays: of its records. ?: stages whose records are enriched all the same.
WITH params AS (
  SELECT CAST(? AS VARCHAR[]) AS consumers
),
furthest AS (
  SELECT f.record_id, f.stage, MAX(f.attempts::HUGEINT << 64 | hash(f)::HUGEINT) AS rank
  FROM failures f
  GROUP BY f.record_id, f.stage
),
kept AS (
  SELECT DISTINCT f.*
  FROM failures f
  WHERE (f.record_id, f.stage, f.attempts::HUGEINT << 64 | hash(f)::HUGEINT)
    IN (SELECT u.record_id, u.stage, u.rank FROM furthest u)
),
passed AS (
  SELECT r.record_id, r.stage, MAX(r.replayed_at) AS replayed_at
  FROM replays r
  WHERE r.outcome = 'passed'
  GROUP BY r.record_id, r.stage
),
ended AS (
  SELECT
    k.record_id, k.stage,
    CASE
      WHEN list_contains(a.consumers, k.stage) THEN CASE WHEN p.replayed_at IS NULL THEN 'failed' ELSE 'replayed' END
      WHEN e.record_id IS NULL THEN 'failed'
      WHEN p.replayed_at IS NULL THEN 'enriched'
      ELSE 'replayed'
    END AS state,
    p.replayed_at
  FROM kept k
  CROSS JOIN params a
  LEFT JOIN passed p ON p.record_id = k.record_id AND p.stage = k.stage
  LEFT JOIN (SELECT DISTINCT n.record_id FROM enriched_events n) e ON e.record_id = k.record_id
),
-- Of equalities alone: with a condition on one side, the join would compare every row with every other.
typed AS (
  SELECT v.record_id, v.stage, v.type, v.field, v.reason, v.handler_version
  FROM previous v
  WHERE (v.record_id, v.stage) IN (SELECT u.record_id, u.stage FROM kept u WHERE u.type = 'processing_failed')
)
SELECT
  k.record_id, k.arrival_timestamp,
  e.state,
  CASE WHEN e.state = 'replayed' THEN e.replayed_at END AS replayed_at,
  COALESCE(t.type, k.type) AS type,
  k.stage,
  COALESCE(t.field, k.field) AS field,
  COALESCE(t.reason, k.reason) AS reason,
  k.error_code, k.attempts,
  COALESCE(t.handler_version, k.handler_version) AS handler_version,
  k.raw_data
FROM kept k
JOIN ended e ON e.record_id = k.record_id AND e.stage = k.stage
LEFT JOIN typed t ON t.record_id = k.record_id AND t.stage = k.stage
ORDER BY k.arrival_timestamp ASC, k.record_id ASC, k.stage ASC
