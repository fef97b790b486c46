"""Spark jobs, launched by Dagster through its Pipes: on AWS Glue, or on a Spark of this machine.

`work` says what a job is told; `flatten` and `enrich` are its scripts. Dagster alone publishes what they have written.
"""
