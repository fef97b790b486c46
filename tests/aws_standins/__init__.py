"""Servers of loopback that stand in for Redshift's Data API and Athena: they run the statements they are sent.

DuckDB runs them over the emulator's Glue catalog and S3, with the partitions' real locations, and over the real Redis
and MariaDB. What a statement holds that they do not know, they refuse, as an engine refuses what it cannot parse. What
they write, and how they fail, is what the services' documentation says.
"""
