"""The edges as Dagster resources, one class per engine behind one small protocol."""
