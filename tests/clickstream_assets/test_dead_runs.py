"""Runs whose process was killed."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import pytest

from clickstream_assets.dead_runs import fail_dead
from clickstream_assets.requests import is_running
from streaming.settings import ROOT

pytestmark = pytest.mark.timeout(90)

RUN = """
import time
import dagster as dg

@dg.asset
def slow() -> None:
    print("under way", flush=True)
    time.sleep(60)

definitions = dg.Definitions([slow], jobs=[dg.define_asset_job("slow_job", [slow])], executor=dg.in_process_executor)
with dg.DagsterInstance.get() as instance:
    definitions.resolve_job_def("slow_job").execute_in_process(instance=instance)
"""


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        yield instance


@contextmanager
def run_under_way(home: Path) -> Iterator[subprocess.Popen[str]]:
    """A process with a run in it."""
    environment = {"DAGSTER_HOME": str(home), "DAGSTER_DISABLE_TELEMETRY": "1"}
    process = subprocess.Popen(
        [sys.executable, "-c", RUN],
        env=environment, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    try:
        assert process.stdout
        assert process.stdout.readline() == "under way\n"
        yield process
    finally:
        process.kill()
        process.wait()


def test_a_run_whose_process_was_killed_no_longer_keeps_its_job_from_running(
    instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    with run_under_way(tmp_path):
        assert fail_dead(instance) == []
        assert is_running("slow_job", instance)
    assert is_running("slow_job", instance)
    [run] = instance.get_runs()
    assert fail_dead(instance) == [run.run_id]
    assert not is_running("slow_job", instance)
    assert instance.get_runs()[0].status == dg.DagsterRunStatus.FAILURE
    assert fail_dead(instance) == []
