-- One row per record_id that keeps the hour of arrival ? from balancing, if the hour is red (?). identities: as identities.sql has them.
SELECT
  CAST(? AS TIMESTAMP) AS arrival_hour,
  i.record_id,
  CASE WHEN i.deliveries > 0 THEN 'missing' ELSE 'unknown' END AS side
FROM identities i
WHERE CAST(? AS BOOLEAN) AND NOT i.is_in_flight AND (i.deliveries > 0) <> (i.is_enriched OR i.failure_type IS NOT NULL)
ORDER BY side, i.record_id
