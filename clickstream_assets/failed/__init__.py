"""`failed_events`: the records that broke the contract or could not be processed, kept whole."""
