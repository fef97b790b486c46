"""The command `soak` as a person meets it. That promises hold is for tests/faults."""

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from streaming.runtime.supervisor import running_processes, running_system
from tests.commands.conftest import wait_until


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_ctrl_c_ends_it_with_the_report_so_far_and_nothing_left_running(
    start: Callable[..., subprocess.Popen[str]], home: Path
) -> None:
    process = start("soak", "--minutes", "60", "--rate", "100", "--seed", "1", "--strikes", "records")
    wait_until(lambda: (home / "acknowledged.txt").exists() and (home / "acknowledged.txt").stat().st_size, process)
    identities = running_processes(home)
    os.kill(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=200)
    assert process.returncode == 0, output
    assert "Nothing was lost, doubled or made up." in output
    assert running_system(home) is None
    assert [identity.name for identity in identities if identity.process()] == []


def test_a_home_with_a_lake_is_somebodys(start: Callable[..., subprocess.Popen[str]], home: Path) -> None:
    (home / "lake").mkdir(parents=True)
    process = start("soak")
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert output == f"error: CLICKSTREAM_HOME: a soak needs a home of its own, and {home} has a lake\n"
