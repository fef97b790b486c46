-- The last Search of every user, with last access and place from Redis, name and price from MySQL: the article's
-- federated query, mended. It returned every Search, and cut ids to four digits (Redis) or five (MySQL); here the last
-- one counts, and ids are whole. A user whom Redis or MySQL does not know has nulls.
--
-- "data-sandbox" is the lake's database in the Glue catalog; "data-sandbox-redis" and "mysql" are Athena's data sources.
-- The Redis connector shows the hashes `user:*` as a table (redis-key-prefix user:*, redis-value-type hash), all text.
-- Elsewhere a table goes by the last part of its name.
WITH s3 AS (
  SELECT
    user_id,
    event_name,
    MAX(event_timestamp) AS last_search
  FROM "data-sandbox"."flattened_events"
  WHERE event_name = 'Search'
  GROUP BY user_id, event_name
),
redis AS (
  SELECT
    SUBSTRING(_key_, 6) AS user_id,
    TRY_CAST(REPLACE(REPLACE(last_access, 'T', ' '), 'Z', '') AS TIMESTAMP) AS last_access,
    NULLIF(location, '') AS location
  FROM "data-sandbox-redis"."redis"."users"
),
mysql AS (
  SELECT
    CAST(customer_id AS VARCHAR) AS user_id,
    name,
    price_per_click
  FROM "mysql"."datasandbox"."customers"
)
SELECT
  s3.user_id,
  mysql.name,
  redis.location,
  s3.event_name,
  s3.last_search,
  redis.last_access,
  mysql.price_per_click
FROM s3
LEFT JOIN redis
  ON redis.user_id = s3.user_id
LEFT JOIN mysql
  ON mysql.user_id = s3.user_id
ORDER BY last_access DESC NULLS LAST, user_id ASC
