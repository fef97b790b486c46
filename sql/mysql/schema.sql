CREATE TABLE IF NOT EXISTS customers (
    customer_id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT COMMENT 'the user_id of events, as a number',
    pixel_id VARCHAR(64) NOT NULL COMMENT 'tracking pixel the customer signed up through',
    name VARCHAR(200) NOT NULL COMMENT 'full name',
    price_per_click DECIMAL(10, 4) NOT NULL DEFAULT 0 COMMENT 'what one click of this customer costs',
    -- TIMESTAMP, not DATETIME: it stays UTC whatever time zone the shop's session writes in.
    updated_at TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6) ON UPDATE CURRENT_TIMESTAMP(6),
    PRIMARY KEY (customer_id),
    KEY customers_by_change (updated_at, customer_id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_unicode_ci
