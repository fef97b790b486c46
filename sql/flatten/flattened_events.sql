-- One row per click_id of the event hour [?, ?): earliest arrival, then fewest missing reasons, then a total order.
-- Only rows of click_ids that stand more than once are ranked: a window holds whole rows in memory.
-- enriched_events: the arrival hours that hold events of this hour, as the ledger knows them.
WITH events AS /* NOT MATERIALIZED */ (
  SELECT
    e.timestamp AS event_timestamp,
    e.user_id AS user_id,
    e.pixel_id AS pixel_id,
    e.click_id AS click_id,
    e.insertion_timestamp AS insertion_timestamp,
    e.event_name AS event_name,
    e.user_ip AS user_ip,
    e.additional_data.time_on_data AS time_on_data,
    e.additional_data.percent_viewed AS percent_viewed,
    e.additional_data.product_id AS product_id,
    e.additional_data.price AS price,
    e.name AS name,
    e.country AS country,
    e.region AS region,
    e.city AS city,
    e.latitude AS latitude,
    e.longitude AS longitude,
    e.missing_reasons AS missing_reasons,
    e.enrichment_version AS enrichment_version,
    e.extra AS extra,
    e.record_id AS record_id,
    e.arrival_timestamp AS arrival_timestamp
  FROM enriched_events e
  WHERE e.timestamp >= CAST(? AS TIMESTAMP) AND e.timestamp < CAST(? AS TIMESTAMP)
),
repeated AS (
  SELECT v.click_id AS click_id
  FROM events v
  GROUP BY v.click_id
  HAVING COUNT(*) > 1
),
ranked AS (
  SELECT
    v.event_timestamp, v.user_id, v.pixel_id, v.click_id, v.insertion_timestamp, v.event_name, v.user_ip,
    v.time_on_data, v.percent_viewed, v.product_id, v.price,
    v.name, v.country, v.region, v.city, v.latitude, v.longitude,
    v.missing_reasons, v.enrichment_version, v.extra, v.record_id, v.arrival_timestamp,
    ROW_NUMBER() OVER (
      PARTITION BY v.click_id
      ORDER BY
        v.arrival_timestamp ASC NULLS LAST,
        LENGTH(COALESCE(v.missing_reasons, '')) - LENGTH(REPLACE(COALESCE(v.missing_reasons, ''), ':', '')) ASC,
        v.record_id ASC NULLS LAST,
        v.event_timestamp ASC NULLS LAST, v.user_id ASC NULLS LAST, v.pixel_id ASC NULLS LAST,
        v.insertion_timestamp ASC NULLS LAST, v.event_name ASC NULLS LAST, v.user_ip ASC NULLS LAST,
        v.time_on_data ASC NULLS LAST, v.percent_viewed ASC NULLS LAST, v.product_id ASC NULLS LAST,
        v.price ASC NULLS LAST, v.name ASC NULLS LAST, v.country ASC NULLS LAST, v.region ASC NULLS LAST,
        v.city ASC NULLS LAST, v.latitude ASC NULLS LAST, v.longitude ASC NULLS LAST,
        v.missing_reasons ASC NULLS LAST, v.enrichment_version ASC NULLS LAST, v.extra ASC NULLS LAST
    ) AS copy_number
  FROM events v
  WHERE v.click_id IN (SELECT d.click_id FROM repeated d)
),
kept AS (
  SELECT
    v.event_timestamp, v.user_id, v.pixel_id, v.click_id, v.insertion_timestamp, v.event_name, v.user_ip,
    v.time_on_data, v.percent_viewed, v.product_id, v.price,
    v.name, v.country, v.region, v.city, v.latitude, v.longitude,
    v.missing_reasons, v.enrichment_version, v.extra, v.record_id, v.arrival_timestamp
  FROM events v
  WHERE v.click_id NOT IN (SELECT d.click_id FROM repeated d)
  UNION ALL
  SELECT
    r.event_timestamp, r.user_id, r.pixel_id, r.click_id, r.insertion_timestamp, r.event_name, r.user_ip,
    r.time_on_data, r.percent_viewed, r.product_id, r.price,
    r.name, r.country, r.region, r.city, r.latitude, r.longitude,
    r.missing_reasons, r.enrichment_version, r.extra, r.record_id, r.arrival_timestamp
  FROM ranked r
  WHERE r.copy_number = 1
)
SELECT
  k.event_timestamp, k.user_id, k.pixel_id, k.click_id, k.insertion_timestamp, k.event_name, k.user_ip,
  k.time_on_data, k.percent_viewed, k.product_id, k.price,
  k.name, k.country, k.region, k.city, k.latitude, k.longitude,
  k.missing_reasons, k.enrichment_version, k.extra, k.record_id, k.arrival_timestamp
FROM kept k
