"""The supervisor on real processes: order, readiness, restarts, and ends that leave nothing behind."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from streaming.runtime.supervisor import (
    Service,
    StopRequested,
    Supervisor,
    SupervisorError,
    running_processes,
    running_system,
)

# Says that it is ready, then waits; on SIGTERM it writes its name to a shared file, as a worker that flushes.
WORKER = """
import os, pathlib, signal, sys, time
name, journal = sys.argv[1:3]
def note(what):
    with open(journal, "a") as file:
        file.write(f"{what} {name}\\n")
def stop(*_):
    note("stopped")
    sys.exit(0)
signal.signal(signal.SIGTERM, stop)
note("started")
pathlib.Path(os.environ["CLICKSTREAM_READY_FILE"]).touch()
while True:
    time.sleep(60)
"""

SUPERVISE = """
import pathlib, sys
from streaming.runtime.supervisor import Service, StopRequested, Supervisor
home, journal, worker = sys.argv[1:]
def service(name, *after):
    return Service(name, [sys.executable, "-c", worker, name, journal], after=after)
try:
    with Supervisor(pathlib.Path(home), print) as supervisor:
        supervisor.start(service("worker", "server"), service("server"))
        print("ready", flush=True)
        supervisor.watch()
except StopRequested:
    pass
"""


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    file = tmp_path / "journal"
    file.touch()
    return file


@pytest.fixture
def service(journal: Path) -> Callable[..., Service]:
    def make(name: str, *after: str) -> Service:
        return Service(name, [sys.executable, "-c", WORKER, name, str(journal)], after=after)

    return make


@pytest.fixture
def supervising(tmp_path: Path, journal: Path) -> subprocess.Popen[str]:
    """A supervisor in a process of its own, its two services ready."""
    command = [sys.executable, "-c", SUPERVISE, str(tmp_path / "home"), str(journal), WORKER]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def test_dependencies_start_first_and_stop_last(tmp_path: Path, journal: Path, service: Callable[..., Service]) -> None:
    with Supervisor(tmp_path, print, stop_signals=()) as supervisor:
        supervisor.start(service("collector", "worker"), service("worker", "server"), service("server"))
    assert journal.read_text().splitlines() == [
        "started server", "started worker", "started collector",
        "stopped collector", "stopped worker", "stopped server",
    ]  # fmt: skip
    assert running_system(tmp_path) is None


def test_a_child_that_dies_is_restarted_and_said(tmp_path: Path, service: Callable[..., Service]) -> None:
    said: list[str] = []
    with Supervisor(tmp_path, said.append, stop_signals=()) as supervisor:
        supervisor.start(service("worker"))
        [first] = running_processes(tmp_path)
        os.kill(first.pid, signal.SIGKILL)

        def another_is_ready() -> bool:
            processes = running_processes(tmp_path)
            system = running_system(tmp_path)
            return bool(system and system["ready"] and processes and processes[0].pid != first.pid)

        supervisor.watch(another_is_ready, probe_seconds=0.05)
    assert len(said) == 1
    assert said[0].startswith("worker was killed by SIGKILL; restarting it in")


def test_a_child_that_has_died_is_named_and_not_ready_until_it_runs_again(
    tmp_path: Path, service: Callable[..., Service]
) -> None:
    def published() -> dict[str, Any]:
        return running_system(tmp_path) or {}

    with Supervisor(tmp_path, print) as supervisor:
        supervisor.start(service("worker"), service("other"))
        [worker] = [identity for identity in running_processes(tmp_path) if identity.name == "worker"]
        os.kill(worker.pid, signal.SIGKILL)
        supervisor.watch(lambda: "worker" not in published()["ready"])
        assert published()["processes"]["worker"]["pid"] == worker.pid
        assert published()["ready"] == ["other"]
        supervisor.watch(lambda: "worker" in published()["ready"])
        assert published()["processes"]["worker"]["pid"] != worker.pid


def test_a_child_that_keeps_dying_is_given_up_with_the_end_of_its_log(tmp_path: Path) -> None:
    broken = Service("worker", [sys.executable, "-c", "import sys; sys.exit('no such table')"], ready=lambda: False)
    with (
        Supervisor(tmp_path, print, stop_signals=()) as supervisor,
        pytest.raises(SupervisorError, match=r"(?s)worker died \d times in a row.*no such table"),
    ):
        supervisor.start(broken)


def test_a_child_that_never_gets_ready_is_explained_by_its_log(tmp_path: Path) -> None:
    stuck = Service(
        "collector",
        [sys.executable, "-c", "import time; print('waiting for godot', flush=True); time.sleep(60)"],
        ready=lambda: False,
        ready_seconds=2,
    )
    with (
        Supervisor(tmp_path, print, stop_signals=()) as supervisor,
        pytest.raises(SupervisorError, match=r"(?s)collector was not ready after 2 s.*waiting for godot"),
    ):
        supervisor.start(stuck)


def test_a_child_that_ignores_sigterm_is_killed_after_its_grace(tmp_path: Path) -> None:
    deaf = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)"
    )
    log = tmp_path / "logs" / "deaf.log"
    said: list[str] = []
    with Supervisor(tmp_path, said.append, stop_signals=()) as supervisor:
        supervisor.start(
            Service("deaf", [sys.executable, "-c", deaf], ready=lambda: "deaf" in log.read_text(), grace_seconds=0.3)
        )
        [identity] = running_processes(tmp_path)
    assert identity.process() is None
    assert said == ["killed after their grace had passed: deaf"]


def test_a_second_start_in_the_same_home_is_refused(tmp_path: Path) -> None:
    with Supervisor(tmp_path, print, stop_signals=()):
        with pytest.raises(SupervisorError, match=f"already runs in .*process {os.getpid()}"):
            Supervisor(tmp_path, print, stop_signals=()).__enter__()
        assert running_system(tmp_path) is not None


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_one_signal_ends_everything_in_order(
    supervising: subprocess.Popen[str], journal: Path, signum: signal.Signals
) -> None:
    supervising.send_signal(signum)
    assert supervising.wait(20) == 0
    assert journal.read_text().splitlines()[-2:] == ["stopped worker", "stopped server"]


def test_ctrl_c_works_where_the_shell_made_background_jobs_ignore_it(tmp_path: Path, journal: Path) -> None:
    script = 'trap "" INT; exec "$0" -c "$1" "$2" "$3" "$4"'
    command = ["sh", "-c", script, sys.executable, SUPERVISE, str(tmp_path / "home"), str(journal), WORKER]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 0
    assert journal.read_text().splitlines()[-2:] == ["stopped worker", "stopped server"]


def test_a_killed_supervisor_leaves_no_process(
    supervising: subprocess.Popen[str], tmp_path: Path, journal: Path
) -> None:
    home = tmp_path / "home"
    children = running_processes(home)
    assert len(children) == 2
    supervising.kill()
    supervising.wait()
    _eventually(lambda: not any(child.process() for child in children))
    _eventually(lambda: not (home / "services.json").exists())
    assert journal.read_text().splitlines()[-2:] == ["stopped worker", "stopped server"]


def test_leftovers_of_a_killed_supervisor_and_guard_are_stopped_by_the_next_start(
    supervising: subprocess.Popen[str], tmp_path: Path
) -> None:
    home = tmp_path / "home"
    children = running_processes(home)
    [guard] = [p for p in psutil.Process(supervising.pid).children() if p.pid not in {c.pid for c in children}]
    guard.kill()
    supervising.kill()
    supervising.wait()
    assert all(child.process() for child in children)
    said: list[str] = []
    with Supervisor(home, said.append, stop_signals=()):
        assert not any(child.process() for child in children)
    assert said[0].startswith("stopping what a killed run left behind:")


def test_a_job_ends_while_services_run_and_a_signal_ends_the_job(
    tmp_path: Path, service: Callable[..., Service], capfd: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "output"
    with Supervisor(tmp_path, print, stop_signals=(signal.SIGUSR1,)) as supervisor:
        supervisor.start(service("worker"))
        with output.open("wb") as stdout:
            hello = [sys.executable, "-c", "print('hello')"]
            supervisor.run("job", hello, {}, stdout)
            with pytest.raises(SupervisorError, match="job ended with status 1, see above"):
                supervisor.run("job", [sys.executable, "-c", "import sys; sys.exit('no such table')"], {}, stdout)
            signal_parent = "import os, signal, time; os.kill(os.getppid(), signal.SIGUSR1); time.sleep(60)"
            with pytest.raises(StopRequested):
                supervisor.run("job", [sys.executable, "-c", signal_parent], {}, stdout)
    assert output.read_text() == "hello\n"
    assert "no such table" in capfd.readouterr().err


def _eventually(condition: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
