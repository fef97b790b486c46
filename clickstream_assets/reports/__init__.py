"""The reports: tables that join the lake with what lies elsewhere."""
