"""Glue jobs as the service's own model has them: started, awaited, failing, stopped with their run; what they say."""

import subprocess
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import boto3
import dagster as dg
import pyarrow as pa
import pytest
from botocore.stub import ANY, Stubber
from dagster._core.errors import DagsterExecutionInterruptedError

from resources.aws.glue import jobs as glue_jobs
from resources.aws.glue.jobs import GlueSpark
from resources.spark import JobReport
from streaming.domain.stack import Stack
from streaming.edges.aws import client
from streaming.jobs.files import read_table, write_table
from streaming.jobs.work import FlattenWork
from streaming.settings import ROOT
from tests.aws_proxy import AwsProxy, Faults, lose_answer
from tests.s3_lakes import BUCKET, keys

pytestmark = pytest.mark.slow  # Pipes waits for what a job may still say

NAME, RUN = "clickstream-flatten", "jr_1"
WORK = FlattenWork("SELECT 1", ("event_timestamp",), [])
# A job as Glue starts it, by its arguments, without Spark.
JOB = """
from streaming.jobs.session import _open_pipes
with _open_pipes() as pipes:
    pipes.log.info(f"asked for {pipes.extras['statement']}")
    print("printed by the job", flush=True)
    pipes.report_custom_message(
        {"key": "10", "rows": 90, "failures": [], "seconds": 1.5, "spark": "3.5.4", "application": "app-1"}
    )
"""


@pytest.fixture
def glue(aws: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stubber]:
    """Glue, which answers at once what a test says, and is asked what the service's model allows."""
    client("s3").create_bucket(Bucket=BUCKET)
    monkeypatch.setattr(glue_jobs, "time", SimpleNamespace(sleep=lambda seconds: None))
    with Stubber(boto3.client("glue", region_name="us-east-1")) as stubber:
        yield stubber
        stubber.assert_no_pending_responses()


@pytest.fixture
def spark(glue: Stubber, monkeypatch: pytest.MonkeyPatch) -> GlueSpark:
    clients = {"glue": glue.client, "s3": client("s3")}
    monkeypatch.setattr(glue_jobs, "client", lambda service, **_: clients[service])
    return GlueSpark(Stack("clickstream"), BUCKET)


def started(glue: Stubber, job: str) -> None:
    """A run is started, and does what the job does, in a process of its own."""

    def start(params: dict[str, Any], **_: object) -> None:
        arguments = [word for pair in params["Arguments"].items() for word in pair]
        subprocess.run([sys.executable, "-c", job, *arguments], cwd=ROOT, check=False, timeout=60)

    glue.client.meta.events.register("provide-client-params.glue.StartJobRun", start)
    arguments = {"--dagster-pipes-context": ANY, "--dagster-pipes-messages": ANY}
    glue.add_response("start_job_run", {"JobRunId": RUN}, {"JobName": NAME, "Arguments": arguments})
    stands(glue, "STARTING")


def stands(glue: Stubber, *states: str, **told: str) -> None:
    for state in states:
        run = {"Id": RUN, "JobName": NAME, "JobRunState": state, **told}
        glue.add_response("get_job_run", {"JobRun": run}, {"JobName": NAME, "RunId": RUN})


def stopped(glue: Stubber) -> None:
    """The run is to be stopped, and is."""
    answer = {"SuccessfulSubmissions": [{"JobName": NAME, "JobRunId": RUN}], "Errors": []}
    glue.add_response("batch_stop_job_run", answer, {"JobName": NAME, "JobRunIds": [RUN]})


def run(spark: GlueSpark, instance: dg.DagsterInstance) -> tuple[dg.ExecuteInProcessResult, dict[str, JobReport], str]:
    """The run, what it was told of partitions, and its log."""
    found: dict[str, JobReport] = {}

    @dg.asset
    def flattened(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        found.update(spark.run(context, "flatten", WORK))
        return dg.MaterializeResult()

    result = dg.materialize([flattened], instance=instance, raise_on_error=False)
    log = "\n".join(f"{entry.user_message} {_error(entry)}" for entry in instance.all_logs(result.run_id))
    return result, found, log


def _error(entry: dg.EventLogEntry) -> str:
    event = entry.dagster_event
    error = getattr(event.event_specific_data, "error", None) if event else None
    return error.to_string() if error else ""


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def test_a_job_is_started_and_awaited_and_says_what_it_wrote(
    glue: Stubber, spark: GlueSpark, instance: dg.DagsterInstance, capfd: pytest.CaptureFixture[str]
) -> None:
    started(glue, JOB)
    stands(glue, "RUNNING", "RUNNING", "SUCCEEDED")

    result, told, log = run(spark, instance)

    assert result.success
    assert told["10"].written.rows == 90
    assert told["10"].metadata["AWS Glue Job Run ID"].value == RUN
    assert f"/job/{NAME}/run/{RUN}" in told["10"].metadata["AWS Glue Job Run URL"].value
    assert "asked for SELECT 1" in log
    assert "printed by the job" in capfd.readouterr().out
    assert keys("jobs/") == []


def test_a_job_that_fails_fails_the_run_and_says_why(
    glue: Stubber, spark: GlueSpark, instance: dg.DagsterInstance
) -> None:
    started(glue, JOB.replace("print(", "raise ValueError('no such column: colour')  # "))
    stands(glue, "FAILED", ErrorMessage="Command failed with exit code 1")

    result, _, log = run(spark, instance)

    assert not result.success
    assert "no such column: colour" in log
    assert f"{RUN} completed with status FAILED" in log
    assert keys("jobs/") == []


def test_a_job_that_never_came_to_its_end_fails_the_run(
    glue: Stubber, spark: GlueSpark, instance: dg.DagsterInstance
) -> None:
    started(glue, "")
    stands(glue, "STOPPING", "TIMEOUT")
    result, _, log = run(spark, instance)
    assert not result.success
    assert f"{RUN} completed with status TIMEOUT" in log


def test_a_job_that_cannot_be_started_fails_the_run(
    glue: Stubber, spark: GlueSpark, instance: dg.DagsterInstance
) -> None:
    glue.add_client_error(
        "start_job_run", "ConcurrentRunsExceededException", "Concurrent runs exceeded for clickstream"
    )
    result, _, log = run(spark, instance)
    assert not result.success
    assert "Concurrent runs exceeded" in log


def test_a_run_that_is_ended_stops_its_job(
    glue: Stubber, spark: GlueSpark, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(seconds: float) -> None:
        raise DagsterExecutionInterruptedError

    monkeypatch.setattr(glue_jobs, "time", SimpleNamespace(sleep=interrupted))
    started(glue, "")
    stopped(glue)

    result, _, log = run(spark, instance)

    assert not result.success
    assert f"Stopped Glue job run {RUN}" in log
    assert keys("jobs/") == []


def test_a_job_that_cannot_be_followed_is_stopped(
    glue: Stubber, spark: GlueSpark, instance: dg.DagsterInstance
) -> None:
    started(glue, "")
    glue.add_client_error("get_job_run", "InternalServiceException", "injected")
    stopped(glue)

    result, _, log = run(spark, instance)

    assert not result.success
    assert "InternalServiceException" in log
    assert f"Stopped Glue job run {RUN}" in log


def test_a_job_that_cannot_be_stopped_either_is_told(
    glue: Stubber, spark: GlueSpark, instance: dg.DagsterInstance
) -> None:
    started(glue, "")
    glue.add_client_error("get_job_run", "InternalServiceException", "injected")
    glue.add_client_error("batch_stop_job_run", "OperationTimeoutException", "injected")

    result, _, log = run(spark, instance)

    assert not result.success
    assert "InternalServiceException" in log
    assert f"Glue job run {RUN} could not be stopped" in log


def test_a_job_whose_start_is_not_answered_is_not_started_twice(
    aws: str, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    client("s3").create_bucket(Bucket=BUCKET)
    command = {"Name": "glueetl", "ScriptLocation": f"s3://{BUCKET}/flatten.py"}
    client("glue").create_job(Name=NAME, Role="any", Command=command, ExecutionProperty={"MaxConcurrentRuns": 2})
    with AwsProxy(aws, Faults(lose_answer, 1, lambda request: request.operation == "StartJobRun")) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL_GLUE", proxy.address)
        result, _, _ = run(GlueSpark(Stack("clickstream"), BUCKET), instance)

    assert not result.success
    monkeypatch.delenv("AWS_ENDPOINT_URL_GLUE")
    assert len(client("glue").get_job_runs(JobName=NAME)["JobRuns"]) == 1


def test_what_is_shared_with_a_job_goes_with_the_block(spark: GlueSpark) -> None:
    names = pa.table({"user_id": ["20"], "name": ["Semyon Ryan"]})
    with spark.shared() as shared:
        write_table(names, f"{shared}/names.parquet")
        assert read_table(f"{shared}/names.parquet").equals(names)
        assert shared.startswith(f"s3://{BUCKET}/jobs/")
    assert keys() == []
