"""`flattened_events`: one row per click, by hour of event time."""
