"""`enriched_events`: an hour of arrival, sealed from what was delivered or enriched anew from raw."""
