-- Users who may be won: they saw most of a product's page.
SELECT
    record_id,
    arrival_timestamp,
    event_timestamp,
    user_id,
    click_id,
    event_name,
    CAST(percent_viewed AS DECIMAL(5, 2)) AS percent_viewed,
    product_id,
    price
FROM source_stream
WHERE event_name = 'ViewContent'
    AND source_stream.percent_viewed > 60
