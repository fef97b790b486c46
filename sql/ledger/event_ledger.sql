-- One row: the hour of arrival ?, compared by identity; whether it is closed (?); what was found of its clicks (?, ?, ?).
-- identities: as identities.sql has them; enriched_events: the hour's rows; previous: its ledger as it stands, if any.
WITH params AS (
  SELECT
    CAST(? AS TIMESTAMP) AS arrival_hour, CAST(? AS BOOLEAN) AS closed,
    CAST(? AS BIGINT) AS repeated_clicks, CAST(? AS BIGINT) AS conflicting_clicks, CAST(? AS VARCHAR[]) AS examples
),
counted AS (
  SELECT
    COUNT(CASE WHEN i.deliveries > 0 THEN 1 END) AS raw_records,
    COUNT(CASE WHEN i.is_enriched THEN 1 END) AS enriched_records,
    COUNT(CASE WHEN i.failure_type IS NOT NULL AND NOT i.is_enriched THEN 1 END) AS failed_records,
    COUNT(CASE WHEN i.deliveries > 0 AND NOT i.is_enriched AND i.failure_type IS NULL THEN 1 END) AS missing_records,
    COUNT(CASE WHEN i.deliveries = 0 AND (i.is_enriched OR i.failure_type IS NOT NULL) THEN 1 END) AS unknown_records,
    CAST(COALESCE(SUM(i.deliveries - 1) FILTER (i.deliveries > 0), 0) AS BIGINT) AS repeated_deliveries
  FROM identities i
  WHERE NOT i.is_in_flight
),
failures AS (
  SELECT COALESCE(CAST(json_group_object(t.type, t.records) AS VARCHAR), '{}') AS failures_by_type
  FROM (
    SELECT i.failure_type AS type, COUNT(*) AS records
    FROM identities i
    WHERE NOT i.is_in_flight AND NOT i.is_enriched AND i.failure_type IS NOT NULL
    GROUP BY i.failure_type
    ORDER BY i.failure_type
  ) t
),
touched_now AS (
  SELECT
    DATE_TRUNC('hour', e.timestamp) AS event_hour,
    COUNT(*) AS events,
    md5(CAST(SUM(CAST(hash(e) AS HUGEINT)) AS VARCHAR)) AS version,
    COUNT(CASE WHEN regexp_matches(e.missing_reasons, 'lookup_failed(,|$)') THEN 1 END) AS degraded
  FROM enriched_events e
  GROUP BY 1
),
-- An event hour that was touched before and is not any more stays, with no events: what was flattened from it must go.
touched AS (
  SELECT n.event_hour, n.events, n.version FROM touched_now n
  UNION ALL
  SELECT p.event_hour, 0, ''
  FROM (SELECT UNNEST(touched_event_hours).event_hour AS event_hour FROM previous) p
  WHERE NOT EXISTS (SELECT 1 FROM touched_now n WHERE n.event_hour = p.event_hour)
),
listed AS (
  SELECT LIST({event_hour: t.event_hour, events: t.events, version: t.version} ORDER BY t.event_hour) AS hours
  FROM touched t
),
degraded AS (
  SELECT CAST(COALESCE(SUM(n.degraded), 0) AS BIGINT) AS degraded_records FROM touched_now n
)
SELECT
  p.arrival_hour,
  CASE
    WHEN NOT p.closed THEN 'open'
    WHEN c.missing_records = 0 AND c.unknown_records = 0 THEN 'balanced'
    ELSE 'red'
  END AS state,
  c.raw_records, c.enriched_records, c.failed_records, c.missing_records, c.unknown_records,
  c.repeated_deliveries, p.repeated_clicks, p.conflicting_clicks, p.examples AS conflict_examples, d.degraded_records,
  f.failures_by_type,
  COALESCE(l.hours, []) AS touched_event_hours,
  md5(CAST((p, c, d, f.failures_by_type, l.hours) AS VARCHAR)) AS version
FROM params p, counted c, failures f, listed l, degraded d
