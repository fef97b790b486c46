-- The places that were looked up with the geo build ? for the addresses of an hour, one for each address: of several
-- the first by a total order, and any before none. What an outage left is no record.
SELECT DISTINCT ON (e.user_ip) e.user_ip, e.country, e.region, e.city, e.latitude, e.longitude
FROM enriched_events e
WHERE SPLIT_PART(e.enrichment_version, '/', 2) = ?
  AND e.user_ip IS NOT NULL
  AND (e.missing_reasons IS NULL OR e.missing_reasons NOT LIKE '%place:%' OR e.missing_reasons LIKE '%place:not_found%')
ORDER BY
  e.user_ip ASC, e.country ASC NULLS LAST, e.region ASC NULLS LAST, e.city ASC NULLS LAST,
  e.latitude ASC NULLS LAST, e.longitude ASC NULLS LAST
