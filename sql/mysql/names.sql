SELECT customer_id, name
FROM customers
WHERE customer_id IN %(customer_ids)s
