-- So many enriched events (?), and copies of one in thirty: the same on every machine. Most are of 19 to 21 November 2026,
-- the rest of three hours a day of the month before. All that the contract lets in, and more, is among them.
WITH numbers AS (
  SELECT g.i, c.copy
  FROM range(?) g(i), (VALUES (0), (1)) c(copy)
  WHERE c.copy = 0 OR g.i % 30 = 0
),
placed AS (
  SELECT
    n.i, n.copy,
    CASE
      WHEN n.i % 10 < 7 THEN TIMESTAMP '2026-11-19' + to_microseconds(CAST(hash(n.i, 'm') % (3 * 86400000000) AS BIGINT))
      ELSE TIMESTAMP '2026-10-14' + to_days(CAST(hash(n.i, 'd') % 42 AS INTEGER))
        + to_hours([0, 9, 23][CAST(1 + hash(n.i, 'h') % 3 AS BIGINT)])
        + to_microseconds(CAST(hash(n.i, 'm') % 3600000000 AS BIGINT))
    END AS exact,
    -- A few users do much, most do little.
    CAST(floor(pow((hash(n.i, 'u') % 1000000) / 1000000.0, 3) * 20000) AS BIGINT) AS person
  FROM numbers n
),
seen AS (
  SELECT
    p.i, p.copy, p.person,
    CASE WHEN p.i % 5 = 0 THEN date_trunc('minute', p.exact) ELSE p.exact END AS moment
  FROM placed p
)
SELECT
  lower(format('{:016x}{:016x}', hash(s.i, 'r', s.copy), hash(s.i, 's', s.copy))) AS record_id,
  s.moment + to_microseconds(CAST(
    CASE WHEN s.i % 60 = 0 THEN 5 ELSE hash(s.i, 'a', s.copy) % [1000000, 172800000000][1 + CAST(s.i % 2 AS BIGINT)] END
  AS BIGINT)) AS arrival_timestamp,
  s.moment AS "timestamp",
  CASE s.person % 50
    WHEN 1 THEN format('00{}', s.person)
    WHEN 2 THEN format('ünï {} 日本', s.person)
    WHEN 3 THEN repeat('x', 100) || s.person
    WHEN 4 THEN CASE WHEN s.person < 50 THEN NULL WHEN s.person < 100 THEN '' ELSE ' ' || s.person || ' ' END
    ELSE CAST(s.person AS VARCHAR)
  END AS user_id,
  ['p1', 'P1', '', 'pixel "|" ''x''', '=1+1', 'пиксель'][CAST(1 + hash(s.i, 'p') % 6 AS BIGINT)] AS pixel_id,
  CASE WHEN s.i % 1000 = 1 THEN format('conflict {}', s.i % 7000) ELSE md5(CAST(s.i AS VARCHAR)) END AS click_id,
  CASE WHEN s.i % 7 > 0 THEN s.moment + INTERVAL 1 SECOND END AS insertion_timestamp,
  ['Search', 'Search', 'ViewContent', 'ViewContent', 'ViewContent', 'AddToCart', 'Purchase'][
    CAST(1 + hash(s.i, 'n') % 7 AS BIGINT)
  ] AS event_name,
  ['169.235.214.44', '2001:db8::1', 'unknown', NULL][CAST(1 + hash(s.i, 'ip') % 4 AS BIGINT)] AS user_ip,
  CASE WHEN s.i % 41 > 0 THEN {
    time_on_data: CASE hash(s.i, 't') % 500 WHEN 0 THEN NULL WHEN 1 THEN 9007199254740991
      ELSE CAST(hash(s.i, 't2') % 300 AS BIGINT) END,
    percent_viewed: [NULL, 0.0, 100.0, 39.7, 1e-300, (hash(s.i, 'v') % 1000000007) / 10000000.7][
      CAST(1 + hash(s.i, 'v2') % 6 AS BIGINT)
    ],
    product_id: CASE hash(s.i, 'o') % 20 WHEN 0 THEN NULL WHEN 1 THEN 9007199254740991
      ELSE CAST(hash(s.i, 'o2') % 5000 AS BIGINT) END,
    price: CASE hash(s.i, 'pr') % 1000 WHEN 0 THEN 9999999999999999.99 WHEN 1 THEN 0.01 WHEN 2 THEN 0
      WHEN 3 THEN NULL ELSE CAST((hash(s.i, 'pr2') % 100000) / 100.0 AS DECIMAL(18,2)) END
  } END AS additional_data,
  CASE s.person % 9 WHEN 0 THEN NULL WHEN 1 THEN '' WHEN 2 THEN format('Zoë {} Ōe', s.i % 3) WHEN 3 THEN '|;=1'
    ELSE format('Customer {}', s.person) END AS name,
  [NULL, '', 'US', 'us', 'DE', 'GB'][CAST(1 + hash(s.i, 'x') % 6 AS BIGINT)] AS country,
  [NULL, '', 'Texas', 'Texas ', 'texas', 'São Paulo', 'Sa' || chr(771) || 'o Paulo', 'Île-de-France', '東京都', '🏝', 'Bayern', 'Ohio',
    'a|b', 'Åland', 'Zürich'][CAST(1 + hash(s.i, 'y') % 15 AS BIGINT)] AS region,
  CASE hash(s.i, 'z') % 40 WHEN 0 THEN NULL WHEN 1 THEN '' ELSE format('City {}', hash(s.i, 'z') % 40) END AS city,
  CASE hash(s.i, 'l') % 6 WHEN 0 THEN NULL WHEN 1 THEN 0.0 WHEN 2 THEN -90.0 WHEN 3 THEN 33.9533
    ELSE (hash(s.i, 'l2') % 1800000) / 10000.0 - 90 END AS latitude,
  CASE hash(s.i, 'l') % 6 WHEN 0 THEN NULL WHEN 1 THEN 180.0 WHEN 2 THEN -179.999999 WHEN 3 THEN -117.3962
    ELSE (hash(s.i, 'l3') % 3600000000) / 10000000.0 - 180 END AS longitude,
  [NULL, NULL, 'name:unknown_user', 'name:unknown_user,place:geo_unavailable'][
    CAST(1 + hash(s.i, 'w', s.copy) % 4 AS BIGINT)
  ] AS missing_reasons,
  '1/geo/2026-11-23T00:00:00.000000Z' AS enrichment_version,
  CASE WHEN s.i % 100 = 0 THEN '{"note": "line\nbreak, \"quoted\" | ü"}' END AS extra
FROM seen s
ORDER BY s.moment, record_id
