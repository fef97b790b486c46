-- The article's UNLOAD, to be run by hand, for all time; `events_by_country` is unloaded day by day with the same
-- options. It ended its SELECT with a semicolon and named a role by its ARN. The bucket is the one to write your own for.
UNLOAD ('
  SELECT country, event_name, COUNT(*) AS events
  FROM lake.flattened_events
  GROUP BY country, event_name
  ORDER BY country
')
TO 's3://ait-aggregation/events_by_country/'
IAM_ROLE default
CSV
DELIMITER AS '|'
HEADER
PARALLEL OFF
