"""Dagster: every table of the platform as an asset. One folder per layer; `assets.py` in it is the Dagster part."""
