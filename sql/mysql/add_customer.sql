INSERT INTO customers (customer_id, pixel_id, name, price_per_click)
VALUES (%(customer_id)s, %(pixel_id)s, %(name)s, %(price_per_click)s)
