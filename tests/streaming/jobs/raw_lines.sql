-- The events of one share (?3) of (?2), as lines of the raw copy of the hour that begins at (?1).
WITH params AS (
  SELECT CAST(? AS TIMESTAMP) AS hour, CAST(? AS INTEGER) AS shares, CAST(? AS INTEGER) AS share
),
numbered AS (
  SELECT e.*, p.hour + to_microseconds(CAST(hash(e.record_id) % 3600000000 AS BIGINT)) AS moment
  FROM events e
  CROSS JOIN params p
  WHERE hash(e.record_id, 'share') % p.shares = p.share
)
SELECT
  '{"record_id":"' || n.record_id || '","arrival_timestamp":"' || strftime(n.moment, '%Y-%m-%dT%H:%M:%S.%fZ')
  || '","client_ip":null,"event":'
  || CASE WHEN hash(n.record_id, 'odd') % 5000 = 0 THEN 'null,"event_base64":"' || base64(encode(COALESCE(n.user_id, 'nobody'))) || '"' ELSE
    to_json({
      timestamp: strftime(n.timestamp, '%Y-%m-%d %H:%M:%S.%f'),
      user_id: n.user_id,
      pixel_id: CASE WHEN n.pixel_id = '' THEN 'p' ELSE n.pixel_id END,
      click_id: n.click_id,
      event_name: CASE WHEN hash(n.record_id, 'bad') % 200 = 0 THEN 'Sing' ELSE n.event_name END,
      user_ip: COALESCE(n.user_ip, '169.235.' || hash(n.record_id) % 200 || '.7'),
      additional_data: COALESCE(n.additional_data, {time_on_data: 1, percent_viewed: 2.5, product_id: 3, price: 4.0}),
      colour: n.region
    })::VARCHAR END
  || '}' AS line
FROM numbered n
ORDER BY n.record_id
