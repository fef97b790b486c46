"""Dagster: every table of the platform as an asset. One folder per layer; `assets.py` in it is the Dagster part."""

import warnings

import dagster as dg

# Ranges in one run and checks by partition are what the graph stands on; Dagster calls the first beta, the second preview.
warnings.filterwarnings("ignore", category=dg.BetaWarning)
warnings.filterwarnings("ignore", category=dg.PreviewWarning)
