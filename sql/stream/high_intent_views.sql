-- Users who may be won: they saw most of a product's page.
SELECT
    record_id,
    arrival_timestamp,
    event_timestamp,
    user_id,
    click_id,
    event_name,
    percent_viewed,
    product_id,
    price
FROM source_stream
WHERE event_name = 'ViewContent'
    AND percent_viewed > 60
