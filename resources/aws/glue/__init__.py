"""The Glue Data Catalog, its crawlers, and Spark's jobs."""
