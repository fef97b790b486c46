-- An hour of arrival, sealed: one row per record_id (fewest failed look-ups, then missing reasons, then by the content's
-- hash). Only rows of repeated identities are compared, so that memory does not grow with the rows' width.
-- enriched_landing: the hour's landing files.
WITH repeated AS (
  SELECT e.record_id
  FROM enriched_landing e
  GROUP BY e.record_id
  HAVING COUNT(*) > 1
),
copies AS /* NOT MATERIALIZED */ (
  SELECT
    e.*,
    -- six for every look-up that failed, one for every reason
    (
      LENGTH(COALESCE(e.missing_reasons, '')) - LENGTH(REPLACE(COALESCE(e.missing_reasons, ''), 'failed', ''))
      + LENGTH(COALESCE(e.missing_reasons, '')) - LENGTH(REPLACE(COALESCE(e.missing_reasons, ''), ':', ''))
    )::HUGEINT << 64 | hash(e)::HUGEINT AS rank
  FROM enriched_landing e
  WHERE e.record_id IN (SELECT r.record_id FROM repeated r)
),
kept AS (
  SELECT c.record_id, MIN(c.rank) AS rank
  FROM copies c
  GROUP BY c.record_id
)
SELECT e.*
FROM enriched_landing e
WHERE e.record_id NOT IN (SELECT r.record_id FROM repeated r)
UNION ALL
SELECT DISTINCT c.* EXCLUDE (rank)
FROM copies c
WHERE (c.record_id, c.rank) IN (SELECT k.record_id, k.rank FROM kept k)
