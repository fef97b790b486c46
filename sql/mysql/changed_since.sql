SELECT customer_id, pixel_id, name, price_per_click, updated_at
FROM customers
WHERE updated_at >= %(updated_at)s AND (updated_at > %(updated_at)s OR customer_id > %(customer_id)s)
ORDER BY updated_at, customer_id
LIMIT %(limit)s
