-- One row per record_id and stage of an hour's failures: what came furthest in its attempts, then a total order.
WITH ranked AS (
  SELECT
    f.*,
    ROW_NUMBER() OVER (
      PARTITION BY f.record_id, f.stage
      ORDER BY f.attempts DESC, f.error_code ASC, f.type ASC, f.field ASC, f.reason ASC
    ) AS copy_number
  FROM failed_events f
)
SELECT r.* EXCLUDE (copy_number)
FROM ranked r
WHERE r.copy_number = 1
ORDER BY r.arrival_timestamp ASC, r.record_id ASC, r.stage ASC
