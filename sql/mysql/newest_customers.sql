SELECT customer_id, pixel_id, name, price_per_click, updated_at
FROM customers
ORDER BY updated_at DESC, customer_id DESC
LIMIT %(limit)s
