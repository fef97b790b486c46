"""Spark on AWS Glue: the jobs of `streaming/jobs`, launched through Dagster Pipes."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import dagster as dg
import msgspec
from dagster_aws.pipes import PipesGlueClient, PipesS3ContextInjector, PipesS3MessageReader

from resources.spark import Told, told
from streaming.domain.stack import Stack
from streaming.edges.aws import client

# Where in the lake's bucket jobs are told what to do, and answer; what a killed run leaves there, expires.
S3_PREFIX = "jobs/"


class GlueSpark:
    """Jobs of Glue, named by their role in the stack. They are told, and answer, through the lake's bucket."""

    def __init__(self, stack: Stack, bucket: str) -> None:
        self._stack = stack
        self._bucket = bucket
        self._s3 = client("s3")
        self._glue = client("glue")

    @contextmanager
    def shared(self) -> Iterator[str]:
        prefix = f"{S3_PREFIX}{secrets.token_hex(8)}"
        try:
            yield f"s3://{self._bucket}/{prefix}"
        finally:
            _remove(self._s3, self._bucket, prefix)

    def run(self, context: dg.AssetExecutionContext, job: str, work: msgspec.Struct) -> dict[str, Told]:
        pipes = PipesGlueClient(
            client=self._glue,
            context_injector=PipesS3ContextInjector(bucket=self._bucket, client=self._s3, key_prefix=S3_PREFIX),
            # CloudWatch's would be read when a job has succeeded, and not at all when it has failed.
            message_reader=_Messages(bucket=self._bucket, client=self._s3, include_stdio_in_messages=True),
        )
        done = pipes.run(
            context=context,
            start_job_run_params={"JobName": self._stack.part(job)},
            extras=msgspec.to_builtins(work),
        )
        return told(done)


class GlueSparkResource(dg.ConfigurableResource[GlueSpark]):
    """Jobs of Glue of a stack, with the lake's bucket."""

    stack: str
    bucket: str

    def create_resource(self, context: dg.InitResourceContext) -> GlueSpark:
        return GlueSpark(Stack(self.stack), self.bucket)


class _Messages(PipesS3MessageReader):
    """Reads what a job says, and removes it when the job is done."""

    @contextmanager
    def get_params(self) -> Iterator[dict[str, Any]]:
        prefix = f"{S3_PREFIX}{secrets.token_hex(8)}"
        with super().get_params() as params:
            try:
                yield {**params, "key_prefix": prefix}
            finally:
                _remove(self.client, self.bucket, prefix)


def _remove(s3: Any, bucket: str, prefix: str) -> None:
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=f"{prefix}/"):
        found = [{"Key": each["Key"]} for each in page.get("Contents", ())]
        if found:
            s3.delete_objects(Bucket=bucket, Delete={"Objects": found, "Quiet": True})
