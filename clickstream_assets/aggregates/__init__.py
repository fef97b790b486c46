"""The aggregates: one SQL file and one row of the registry each, by day of event time."""
