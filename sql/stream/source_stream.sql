-- A micro-batch as the table that the stream's statements read: the parameter is a JSON array of rows.
CREATE OR REPLACE TEMP TABLE source_stream AS
SELECT UNNEST(
    FROM_JSON(
        CAST(? AS JSON),
        '[{
            "record_id": "VARCHAR",
            "arrival_timestamp": "TIMESTAMP",
            "event_timestamp": "TIMESTAMP",
            "user_id": "VARCHAR",
            "click_id": "VARCHAR",
            "event_name": "VARCHAR",
            "percent_viewed": "DOUBLE",
            "product_id": "BIGINT",
            "price": "DECIMAL(18,2)"
        }]'
    ),
    recursive := TRUE
)
