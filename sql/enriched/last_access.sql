-- When and where each user was seen last, as the Lambda last_access takes it: a clock that ran ahead counts as the arrival.
-- Of events at one moment all are given; whoever keeps them takes the highest record_id. The sizes of what is grouped
-- are fixed, so that it spills.
WITH seen AS (
  SELECT
    e.user_id, LEAST(e.timestamp, e.arrival_timestamp) AS moment, e.record_id,
    CONCAT_WS(', ', e.city, e.region, e.country) AS location
  FROM enriched_events e
),
latest AS (
  SELECT s.user_id, MAX(s.moment) AS moment
  FROM seen s
  GROUP BY s.user_id
)
SELECT s.user_id, s.moment, s.record_id, s.location
FROM seen s
INNER JOIN latest l ON l.user_id = s.user_id AND l.moment = s.moment
