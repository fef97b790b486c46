-- When and where each user was seen last, as the Lambda last_access keeps it: a clock that ran ahead counts as the arrival,
-- and of events at one moment the highest record_id's counts.
SELECT
  e.user_id,
  MAX(LEAST(e.timestamp, e.arrival_timestamp)) AS moment,
  MAX_BY(e.record_id, (LEAST(e.timestamp, e.arrival_timestamp), e.record_id)) AS record_id,
  MAX_BY(CONCAT_WS(', ', e.city, e.region, e.country), (LEAST(e.timestamp, e.arrival_timestamp), e.record_id)) AS location
FROM enriched_events e
GROUP BY e.user_id
