-- An hour of arrival, sealed: one row per record_id, in order of arrival: the copy with
-- the fewest failed look-ups, then the fewest missing reasons, then a total order.
-- enriched_landing: the hour's landing files.
WITH ranked AS (
  SELECT
    e.*,
    ROW_NUMBER() OVER (
      PARTITION BY e.record_id
      ORDER BY
        LENGTH(COALESCE(e.missing_reasons, '')) - LENGTH(REPLACE(COALESCE(e.missing_reasons, ''), 'failed', '')) ASC,
        LENGTH(COALESCE(e.missing_reasons, '')) - LENGTH(REPLACE(COALESCE(e.missing_reasons, ''), ':', '')) ASC,
        e.missing_reasons ASC NULLS LAST, e.enrichment_version ASC NULLS LAST, e.name ASC NULLS LAST,
        e.country ASC NULLS LAST, e.region ASC NULLS LAST, e.city ASC NULLS LAST,
        e.latitude ASC NULLS LAST, e.longitude ASC NULLS LAST, e.timestamp ASC NULLS LAST,
        e.user_id ASC NULLS LAST, e.pixel_id ASC NULLS LAST, e.click_id ASC NULLS LAST,
        e.insertion_timestamp ASC NULLS LAST, e.event_name ASC NULLS LAST, e.user_ip ASC NULLS LAST,
        e.additional_data ASC NULLS LAST, e.arrival_timestamp ASC NULLS LAST, e.extra ASC NULLS LAST
    ) AS copy_number
  FROM enriched_landing e
)
SELECT r.* EXCLUDE (copy_number)
FROM ranked r
WHERE r.copy_number = 1
ORDER BY r.arrival_timestamp ASC, r.record_id ASC
