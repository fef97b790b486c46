"""What others write: customers, the users' names in the cache, and what delivery lands."""
