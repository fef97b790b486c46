SELECT customer_id, pixel_id, name, price_per_click, updated_at
FROM customers
WHERE customer_id >= %(customer_id)s
ORDER BY customer_id
LIMIT %(limit)s
