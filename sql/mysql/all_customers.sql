SELECT customer_id, pixel_id, name, price_per_click, updated_at
FROM customers
ORDER BY customer_id
