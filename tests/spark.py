"""Spark on this machine, for the SQL that AWS Glue runs: an environment of its own, which brings its Java."""

import os
import signal
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from commands.environments import ensure_environment
from resources.spark import SparkError, spark_submit
from streaming.runtime.supervisor import SupervisorError


def run_spark(
    job: Path, arguments: Sequence[str], scratch: Path, seconds: float, say: Callable[[str], None] = print
) -> None:
    """Run a Python script of Spark's, as `spark-submit` would; what it leaves behind is in `scratch`.

    Raises:
        SupervisorError: Spark cannot be installed, the job failed or took longer; the message ends with its last words.
    """
    try:
        command, environment = spark_submit(ensure_environment("spark", say), job, arguments, scratch)
    except SparkError as error:
        raise SupervisorError(str(error)) from None
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
