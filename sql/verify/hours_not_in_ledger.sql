-- Hours of arrival in raw_events that event_ledger does not have; those that began in the last two hours,
-- as one may just now, only if ? is true; without those of arrivals_behind.
SELECT DISTINCT DATE_TRUNC('hour', r.arrival_timestamp) AS arrival_hour
FROM raw_events r
WHERE NOT EXISTS (SELECT 1 FROM event_ledger l WHERE l.arrival_hour = DATE_TRUNC('hour', r.arrival_timestamp))
  AND (
    CAST(? AS BOOLEAN)
    OR DATE_TRUNC('hour', r.arrival_timestamp) < MAKE_TIMESTAMP(EPOCH_US(NOW())) - INTERVAL 2 HOURS
  )
  AND DATE_TRUNC('hour', r.arrival_timestamp) NOT IN (SELECT b.arrival_hour FROM arrivals_behind b)
