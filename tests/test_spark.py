"""Spark's jobs end: well, with their last words, or when their time is up; nothing of them stays."""

from pathlib import Path

import psutil
import pytest

from streaming.runtime.supervisor import SupervisorError
from tests.spark import run_spark

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]  # the first time Spark is installed

JOB = """
import os, time
from pyspark.sql import SparkSession
spark = SparkSession.builder.getOrCreate()
(row,) = spark.sql("SELECT CAST('2026-03-29 02:30:00' AS TIMESTAMP) AS moment, current_timezone() AS zone").collect()
"""


@pytest.fixture
def job(tmp_path: Path) -> Path:
    return tmp_path / "job.py"


def test_a_job_has_no_time_zone_but_utc(job: Path) -> None:
    """That night half past two was not there in Europe."""
    job.write_text(f"{JOB}assert (str(row.moment), row.zone) == ('2026-03-29 02:30:00', 'UTC'), row")
    run_spark(job, [], job.parent, seconds=300)
    assert processes_in(job.parent) == []


def test_a_job_that_fails_says_why(job: Path) -> None:
    job.write_text(f"{JOB}raise ValueError(f'it is {{row.zone}} here')")
    with pytest.raises(SupervisorError, match=r"job\.py failed[\s\S]*ValueError: it is UTC here"):
        run_spark(job, [], job.parent, seconds=300)


def test_a_job_that_takes_too_long_is_ended_with_all_its_processes(job: Path) -> None:
    job.write_text("import time\ntime.sleep(600)")
    with pytest.raises(SupervisorError, match=r"job\.py took longer than 15 s"):
        run_spark(job, [], job.parent, seconds=15)
    assert processes_in(job.parent) == []


def processes_in(folder: Path) -> list[psutil.Process]:
    """Processes that run in a folder."""
    return [process for process in psutil.process_iter(["cwd"]) if process.info["cwd"] == str(folder)]
