"""Events, validation, enrichment and table declarations: values in, values out, no I/O."""
