"""`event_ledger`: what became of every record of an hour of arrival, by identity."""
