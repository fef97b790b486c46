-- Identities that are in raw and in neither enriched nor failed, the first ? of them. Failures of the stages ? do not
-- count: these consumers read the stream beside delivery.
WITH params AS (
  SELECT CAST(? AS BIGINT) AS most, CAST(? AS VARCHAR[]) AS consumers
)
SELECT DISTINCT r.record_id
FROM raw_events r
WHERE NOT EXISTS (SELECT 1 FROM enriched_landing e WHERE e.record_id = r.record_id)
  AND NOT EXISTS (
    SELECT 1
    FROM failed_events f
    CROSS JOIN params p
    WHERE NOT list_contains(p.consumers, f.stage) AND f.record_id = r.record_id
  )
ORDER BY r.record_id
LIMIT (SELECT p.most FROM params p)
