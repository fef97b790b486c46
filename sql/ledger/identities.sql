-- One row per record_id of an hour of arrival: how often it was delivered, and where it stands. Failures of the
-- stages ? are not an end that a record comes to: these consumers read the stream beside delivery.
-- raw_events, enriched_events, failed_events: the hour's records; in_flight: those of raw that delivery is still writing.
SELECT
  i.record_id,
  COUNT(CASE WHEN i.place = 'raw' THEN 1 END) AS deliveries,
  BOOL_OR(i.place = 'enriched') AS is_enriched,
  BOOL_OR(i.place = 'in flight') AS is_in_flight,
  MIN(i.type) AS failure_type
FROM (
  SELECT r.record_id, 'raw' AS place, NULL AS type FROM raw_events r
  UNION ALL
  SELECT w.record_id, 'in flight', NULL FROM in_flight w
  UNION ALL
  SELECT e.record_id, 'enriched', NULL FROM enriched_events e
  UNION ALL
  SELECT f.record_id, 'failed', f.type FROM failed_events f WHERE NOT list_contains(?, f.stage)
) i
GROUP BY i.record_id
