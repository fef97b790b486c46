"""Spark on AWS Glue: the jobs of `streaming/jobs`, launched through Dagster Pipes."""

import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import dagster as dg
import msgspec
from botocore.exceptions import BotoCoreError, ClientError
from dagster_aws.pipes import PipesS3ContextInjector, PipesS3MessageReader

from resources.aws.s3.bucket import Bucket
from resources.spark import JobReport, reported
from streaming.domain.stack import Stack
from streaming.edges.aws import client

# Where in the lake's bucket jobs are told what to do, and answer; what a killed run leaves there, expires.
S3_PREFIX = "jobs/"

_POLL_SECONDS = 5
_ENDED = {"SUCCEEDED", "FAILED", "STOPPED", "TIMEOUT", "ERROR", "EXPIRED"}


class GlueSpark:
    """Jobs of Glue, named by their role in the stack. They are told, and answer, through the lake's bucket."""

    def __init__(self, stack: Stack, bucket: str) -> None:
        self._stack = stack
        self._bucket = bucket
        self._s3 = client("s3")
        self._glue = client("glue")
        # Glue starts as many runs as it is asked for: after a lost answer, a second try would be a second run.
        self._glue_once = client("glue", attempts=1)

    @contextmanager
    def shared(self) -> Iterator[str]:
        with self._folder() as folder:
            yield f"s3://{self._bucket}/{folder}"

    def run(self, context: dg.AssetExecutionContext, job: str, work: msgspec.Struct) -> dict[str, JobReport]:
        name = self._stack.part(job)
        with self._folder() as folder:
            told_by = PipesS3ContextInjector(bucket=self._bucket, client=self._s3, key_prefix=f"{folder}/")
            # CloudWatch's log would be read when a job has succeeded, and not at all when it has failed.
            messages = _Messages(f"{folder}/messages", self._bucket, self._s3)
            with dg.open_pipes_session(context, told_by, messages, msgspec.to_builtins(work)) as session:
                arguments = dict(session.get_bootstrap_cli_arguments())
                run = self._glue_once.start_job_run(JobName=name, Arguments=arguments)["JobRunId"]
                context.log.info(f"Started AWS Glue job {name} run: {run}")
                self._follow(context, name, run)
        return reported(context, dg.PipesClientCompletedInvocation(session, metadata=self._metadata(name, run)))

    def _follow(self, context: dg.AssetExecutionContext, name: str, run: str) -> None:
        """Wait for the end of a run; one that can be followed no more is stopped.

        Raises:
            RuntimeError: it did not succeed.
        """
        try:
            while (found := self._glue.get_job_run(JobName=name, RunId=run)["JobRun"])["JobRunState"] not in _ENDED:
                time.sleep(_POLL_SECONDS)
        except BaseException:
            self._stop(context, name, run)
            raise
        if found["JobRunState"] != "SUCCEEDED":
            reason = found.get("ErrorMessage", "")
            raise RuntimeError(f"Glue job {name} run {run} completed with status {found['JobRunState']}: {reason}")

    def _stop(self, context: dg.AssetExecutionContext, name: str, run: str) -> None:
        try:
            errors = self._glue.batch_stop_job_run(JobName=name, JobRunIds=[run]).get("Errors")
        except (BotoCoreError, ClientError) as error:
            errors = error
        if errors:
            context.log.error(f"Glue job run {run} could not be stopped: {errors}")
        else:
            context.log.warning(f"Stopped Glue job run {run}")

    def _metadata(self, name: str, run: str) -> dict[str, Any]:
        region = self._glue.meta.region_name
        console = f"https://{region}.console.aws.amazon.com/gluestudio/home?region={region}"
        return {
            "AWS Glue Job Run ID": run,
            "AWS Glue Job Name": name,
            "AWS Glue Job Run URL": dg.MetadataValue.url(f"{console}#/job/{name}/run/{run}"),
        }

    @contextmanager
    def _folder(self) -> Iterator[str]:
        """A folder of the bucket that goes when the block ends."""
        folder = f"{S3_PREFIX}{secrets.token_hex(8)}"
        try:
            yield folder
        finally:
            Bucket(self._bucket, self._s3).clear(f"{folder}/")


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
