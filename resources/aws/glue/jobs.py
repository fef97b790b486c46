"""Spark on AWS Glue: the jobs of `streaming/jobs`, launched through Dagster Pipes."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import dagster as dg
import msgspec
from dagster_aws.pipes import PipesGlueClient, PipesS3ContextInjector, PipesS3MessageReader

from resources.spark import JobReport, reported
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
        with self._folder() as folder:
            yield f"s3://{self._bucket}/{folder}"

    def run(self, context: dg.AssetExecutionContext, job: str, work: msgspec.Struct) -> dict[str, JobReport]:
        with self._folder() as folder:
            told_by = PipesS3ContextInjector(bucket=self._bucket, client=self._s3, key_prefix=f"{folder}/")
            # CloudWatch's log would be read when a job has succeeded, and not at all when it has failed.
            messages = _Messages(f"{folder}/messages", self._bucket, self._s3)
            done = PipesGlueClient(told_by, messages, self._glue).run(
                context=context,
                start_job_run_params={"JobName": self._stack.part(job)},
                extras=msgspec.to_builtins(work),
            )
        return reported(context, done)

    @contextmanager
    def _folder(self) -> Iterator[str]:
        """A folder of the bucket that goes when the block ends."""
        folder = f"{S3_PREFIX}{secrets.token_hex(8)}"
        try:
            yield folder
        finally:
            for page in self._s3.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=f"{folder}/"):
                found = [{"Key": each["Key"]} for each in page.get("Contents", ())]
                if found:
                    self._s3.delete_objects(Bucket=self._bucket, Delete={"Objects": found, "Quiet": True})


class GlueSparkResource(dg.ConfigurableResource[GlueSpark]):
    """Jobs of Glue of a stack, with the lake's bucket."""

    stack: str
    bucket: str

    def create_resource(self, context: dg.InitResourceContext) -> GlueSpark:
        return GlueSpark(Stack(self.stack), self.bucket)


class _Messages(PipesS3MessageReader):
    """Reads what a job says, and prints, in a folder."""

    def __init__(self, folder: str, bucket: str, s3: Any) -> None:
        super().__init__(bucket=bucket, client=s3, include_stdio_in_messages=True)
        self._folder = folder

    @contextmanager
    def get_params(self) -> Iterator[dict[str, Any]]:
        with super().get_params() as params:
            yield {**params, "key_prefix": self._folder}
