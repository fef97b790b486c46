-- How often each action was taken, of all events: the article's first query, on the table that has every event once.
SELECT event_name, COUNT(*) AS events
FROM lake.flattened_events
GROUP BY event_name
