"""Dagster: every table of the platform as an asset. One folder per layer; `assets.py` in it is the Dagster part."""

import warnings

import dagster as dg

# The graph stands on ranges in one run and on checks by partition; Dagster calls them beta and preview.
warnings.filterwarnings("ignore", category=dg.BetaWarning)
warnings.filterwarnings("ignore", category=dg.PreviewWarning)
