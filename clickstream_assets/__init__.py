"""Dagster: every table of the platform as an asset. One folder per layer; `assets.py` in it is the Dagster part."""

import warnings

# The graph stands on ranges in one run and on checks by partition; Dagster calls them beta and preview. Named by what
# they say: whoever only reads tables need not import it.
warnings.filterwarnings("ignore", message=".* is currently in (beta|preview)")
