-- A thousand demo customers, the same on every machine. Only an empty table is seeded, so a shop's own customers
-- never get demo ones among them. The two lists have no common divisor: every pair of names comes up once.
INSERT INTO customers (customer_id, pixel_id, name, price_per_click)
WITH RECURSIVE ids AS (
    SELECT 1 AS id
    UNION ALL
    SELECT id + 1 FROM ids WHERE id < 1000
)
SELECT
    id,
    CASE id
        WHEN 20 THEN 'fytil06mrm'
        WHEN 35 THEN 'wjgao4w1oi'
        ELSE SUBSTRING(SHA2(CONCAT('pixel-', id), 256), 1, 10)
    END,
    CASE id
        WHEN 20 THEN 'Semyon Ryan'
        ELSE CONCAT(
            ELT(
                1 + id MOD 32,
                'Aisha', 'Amara', 'Andrés', 'Beatriz', 'Callum', 'Chiara', 'Daniel', 'Elif',
                'Emma', 'Farid', 'Grace', 'Hana', 'Hugo', 'Ingrid', 'Isaac', 'Jasmine',
                'Jonas', 'Kenji', 'Leila', 'Lucía', 'Malik', 'Marta', 'Mei', 'Nadia',
                'Noah', 'Olga', 'Priya', 'Rafael', 'Sanjay', 'Tomasz', 'Wanjiru', 'Zoë'
            ),
            ' ',
            ELT(
                1 + id MOD 35,
                'Abbott', 'Almeida', 'Banerjee', 'Bauer', 'Castillo', 'Chen', 'Diallo', 'Dubois', 'Eriksen',
                'Fischer', 'Fraser', 'García', 'Haddad', 'Hoang', 'Ivanova', 'Jensen', 'Kaya', 'Kimura',
                'Kowalski', 'Lombardi', 'Marsh', 'Mwangi', 'Nakamura', 'Novak', 'O''Brien', 'Okafor', 'Park',
                'Petrov', 'Quinn', 'Rahman', 'Rossi', 'Silva', 'Turner', 'Vargas', 'Walsh'
            )
        )
    END,
    0.05 + id * 37 MOD 200 / 100
FROM ids
WHERE NOT EXISTS (SELECT 1 FROM customers)
