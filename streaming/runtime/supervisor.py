"""Supervision of the platform's processes on one machine: order, readiness, restarts, and an end without leftovers.

Single-threaded: `start`, `run` and `watch` share one loop that wakes when a child ends, when a signal arrives, or when
the next probe or restart is due. Every child leads its own session and writes to `<home>/logs/<name>.log`.
"""

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import FrameType, TracebackType
from typing import IO, Any, Self

from streaming.runtime.processes import ProcessIdentity, kill_group, stop_in_order, try_lock
from streaming.settings import ROOT, SERVICES_FILE

PROBE_SECONDS = 0.05
QUICK_DEATH_SECONDS = 10.0
MAX_QUICK_DEATHS = 5
MAX_BACKOFF_SECONDS = 10.0
MAX_LOG_BYTES = 20_000_000
STARTING_GRACE_SECONDS = 3.0
LOCK_SECONDS = 30.0
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class SupervisorError(Exception):
    """Something supervised does not run, or must not run twice; the message says what to do."""


class AlreadyRunsError(SupervisorError):
    """Another supervisor, of this process id where that is known, holds the home."""

    def __init__(self, home: Path, pid: int | None) -> None:
        process = f" (process {pid})" if pid else ""
        super().__init__(
            f"it already runs in {home}{process}; `./run down` stops it, CLICKSTREAM_HOME chooses another home"
        )


class StopRequested(BaseException):
    """SIGINT or SIGTERM arrived."""


@dataclass(frozen=True)
class Service:
    """One process to keep running. Durations are seconds.

    `ready` is asked until it is true; without it the process must create the file named in CLICKSTREAM_READY_FILE.
    `after` names services that must be ready before it starts, and that stop after it.
    """

    name: str
    command: Sequence[str | Path]
    ready: Callable[[], bool] | None = None
    after: tuple[str, ...] = ()
    ready_seconds: float = 60.0
    grace_seconds: float = 15.0


class Supervisor:
    """Keeps services running inside one home. A context manager: leaving it stops everything.

    `stop_signals` are turned into `StopRequested`; none are for a host, such as a test run, that handles its own.

    Raises:
        SupervisorError: on entering, when another supervisor holds this home; from `start`, `run` and `watch`, when a
            service does not become ready or keeps dying.
        StopRequested: from `start`, `run` and `watch`, on SIGINT or SIGTERM.
    """

    def __init__(
        self, home: Path, say: Callable[[str], None], stop_signals: Sequence[signal.Signals] = STOP_SIGNALS
    ) -> None:
        self._home = home
        self._stop_signals = stop_signals
        self._say = say
        self._children: dict[str, _Child] = {}
        self._environment: dict[str, str] = {}
        self._stop_requested = False
        self._handlers: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        self._home.mkdir(parents=True, exist_ok=True)
        self._lock = _lock_home(self._home)
        leftovers = [identity for identity in running_processes(self._home) if identity.process()]
        if leftovers:
            self._say(f"stopping what a killed run left behind: {', '.join(i.name for i in leftovers)}")
            stop_in_order(leftovers)
        self._listen()
        self._guard = self._start_guard()
        self._publish()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        for signum, handler in self._handlers.items():
            signal.signal(signum, handler)
        if self._handlers:
            signal.set_wakeup_fd(-1)
        os.close(self._wake_reader)
        os.close(self._wake_writer)
        self._lock.close()

    def start(self, *services: Service) -> None:
        """Start services in the order of their dependencies, side by side where they have none, until all are ready."""
        for service in services:
            self._children[service.name] = _Child(service, self._home)
        while not all(self._children[service.name].is_ready for service in services):
            self._tick(PROBE_SECONDS)

    def run(
        self,
        name: str,
        command: Sequence[str | Path],
        environment: Mapping[str, str] | None = None,
        output: IO[bytes] | None = None,
    ) -> None:
        """Run one command to its end while supervising the rest.

        A person sees what it prints; with `output` its standard output goes there.

        Raises:
            SupervisorError: it ended with a status other than 0.
        """
        process = subprocess.Popen(
            command, env={**os.environ, **self._environment, **(environment or {})}, cwd=ROOT, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=output or sys.stderr,
        )  # fmt: skip
        job = _Child(Service(name, command, after=tuple(self._children)), self._home, process)
        self._children[name] = job
        self._publish()
        try:
            while process.poll() is None:
                self._tick(1.0)
        except BaseException:
            stop_in_order([job.identity])
            raise
        finally:
            del self._children[name]
        self._publish()
        if process.returncode:
            raise SupervisorError(f"{name} ended with status {process.returncode}, see above")

    def watch(self, until: Callable[[], bool] = lambda: False, probe_seconds: float = 1.0) -> None:
        """Supervise until the condition holds, or a signal asks to stop."""
        while not until():
            self._tick(probe_seconds)

    def export(self, environment: Mapping[str, str]) -> None:
        """Add to the environment of processes that start from now on, and to the services file."""
        self._environment |= environment
        self._publish()

    def stop(self) -> None:
        """Stop everything, dependants first; each has its grace to flush."""
        running = [
            # What is still starting has nothing to flush yet, and may not listen to signals yet.
            child.identity if child.is_ready else replace(child.identity, grace_seconds=STARTING_GRACE_SECONDS)
            for child in self._children.values()
            if child.is_running
        ]
        killed = stop_in_order(running)
        if killed:
            self._say(f"killed after their grace had passed: {', '.join(killed)}")
        self._children.clear()
        (self._home / SERVICES_FILE).unlink(missing_ok=True)
        self._tell_guard(None)
        self._guard.communicate()

    def _start_guard(self) -> subprocess.Popen[str]:
        identity = json.dumps(asdict(ProcessIdentity.of("supervisor", os.getpid())))
        command = [sys.executable, "-m", "streaming.runtime.guard", str(self._home), identity]
        return subprocess.Popen(command, stdin=subprocess.PIPE, cwd=ROOT, start_new_session=True, text=True)

    def _listen(self) -> None:
        self._wake_reader, self._wake_writer = os.pipe()
        os.set_blocking(self._wake_reader, False)
        os.set_blocking(self._wake_writer, False)
        if self._stop_signals:
            signal.set_wakeup_fd(self._wake_writer, warn_on_full_buffer=False)
            for signum in (*self._stop_signals, signal.SIGCHLD):
                self._handlers[signum] = signal.signal(signum, self._on_signal)

    def _on_signal(self, signum: int, frame: FrameType | None) -> None:
        if signum in self._stop_signals:
            self._stop_requested = True

    def _tick(self, seconds: float) -> None:
        """Look after every child once, then sleep until something happens, for `seconds` at most."""
        if self._stop_requested:
            self._say("stopping")
            raise StopRequested
        changed = [child for child in self._children.values() if self._look_after(child)]
        if changed:
            self._publish()
        if any(child.is_waiting for child in self._children.values()):
            seconds = min(seconds, PROBE_SECONDS)
        if select.select([self._wake_reader], [], [], seconds)[0]:
            os.read(self._wake_reader, 4096)

    def _look_after(self, child: "_Child") -> bool:
        """Start, probe or restart one child as it needs; whether that changed its state."""
        if child.is_job:
            return False
        if child.is_running:
            return child.probe()
        if child.process is not None:
            self._say(child.bury())
            return True
        if time.monotonic() < child.next_start:
            return False
        if not all(self._children[name].is_ready for name in child.service.after):
            return False
        child.start(self._environment)
        return True

    def _publish(self) -> None:
        # One that has died is named until it runs again: whoever looks sees that it is down.
        identities = [child.identity for child in self._children.values() if child.is_running or child.has_died]
        document = asdict(ProcessIdentity.of("supervisor", os.getpid())) | {
            "environment": self._environment,
            "ready": sorted(child.service.name for child in self._children.values() if child.is_ready),
            "processes": {identity.name: asdict(identity) for identity in identities},
        }
        file = self._home / SERVICES_FILE
        draft = file.with_suffix(".draft")
        draft.touch(mode=0o600)  # an address may hold a password
        draft.write_text(json.dumps(document, indent=1))
        draft.replace(file)
        self._tell_guard([asdict(identity) for identity in identities])

    def _tell_guard(self, state: list[dict[str, Any]] | None) -> None:
        if self._guard.poll() is not None:
            self._guard = self._start_guard()
        if self._guard.stdin:
            self._guard.stdin.write(json.dumps(state) + "\n")
            self._guard.stdin.flush()


class _Child:
    """A service or one-shot job, and the process that runs it now."""

    def __init__(self, service: Service, home: Path, job: subprocess.Popen[bytes] | None = None) -> None:
        self.service = service
        self.process = job
        self.is_job = job is not None
        self.is_ready = self.is_job
        self.next_start = 0.0
        self._home = home
        self._quick_deaths = 0
        self._started = time.monotonic()
        if job is not None:
            self.identity = ProcessIdentity.of(service.name, job.pid, service.grace_seconds, service.after)

    @property
    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    @property
    def has_died(self) -> bool:
        """Whether it ever has."""
        return self.next_start > 0

    @property
    def is_waiting(self) -> bool:
        """Whether a probe or a restart is due soon."""
        return not self.is_ready

    @property
    def log(self) -> Path:
        return self._home / "logs" / f"{self.service.name}.log"

    @property
    def ready_file(self) -> Path:
        return self._home / "ready" / self.service.name

    def start(self, environment: Mapping[str, str]) -> None:
        self.ready_file.parent.mkdir(exist_ok=True)
        self.ready_file.unlink(missing_ok=True)
        own = {**environment, "CLICKSTREAM_READY_FILE": str(self.ready_file)}
        with _open_log(self._home, self.service.name) as log:
            self.process = subprocess.Popen(
                self.service.command, env=os.environ | own, cwd=ROOT, start_new_session=True,
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        self._started = time.monotonic()
        self.identity = ProcessIdentity.of(
            self.service.name, self.process.pid, self.service.grace_seconds, self.service.after
        )

    def probe(self) -> bool:
        """Look for readiness; whether it has come just now.

        Raises:
            SupervisorError: it has had its time to become ready.
        """
        if self.is_ready:
            return False
        self.is_ready = self.service.ready() if self.service.ready else self.ready_file.exists()
        if not self.is_ready and time.monotonic() - self._started > self.service.ready_seconds:
            raise SupervisorError(
                f"{self.service.name} was not ready after {self.service.ready_seconds:g} s; {self.explain()}"
            )
        return self.is_ready

    def bury(self) -> str:
        """Clean up after a process that has died and set the time of its restart; what to tell about it.

        Raises:
            SupervisorError: it keeps dying.
        """
        assert self.process is not None
        status, self.process = self.process.returncode, None
        kill_group(self.identity.pid)
        self.is_ready = False
        quick = time.monotonic() - self._started < QUICK_DEATH_SECONDS
        self._quick_deaths = self._quick_deaths + 1 if quick else 0
        if self._quick_deaths >= MAX_QUICK_DEATHS:
            raise SupervisorError(f"{self.service.name} died {self._quick_deaths} times in a row; {self.explain()}")
        backoff = min(0.1 * 2**self._quick_deaths, MAX_BACKOFF_SECONDS)
        self.next_start = time.monotonic() + backoff
        how = f"was killed by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
        return f"{self.service.name} {how}; restarting it in {backoff:.1f} s (its log: {self.log})"

    def explain(self) -> str:
        """The end of the log."""
        tail = self.log.read_text(errors="replace").splitlines()[-15:]
        return "\n  ".join([f"the end of {self.log}:", *tail])


def running_system(home: Path) -> dict[str, Any] | None:
    """The services file of a supervisor that is alive, or None."""
    document = _services(home)
    if document is None:
        return None
    supervisor = ProcessIdentity("supervisor", document["pid"], document["started"])
    return document if supervisor.process() else None


def running_processes(home: Path) -> list[ProcessIdentity]:
    """The processes the services file names, alive or not."""
    document = _services(home)
    return [ProcessIdentity.from_json(entry) for entry in document["processes"].values()] if document else []


def _services(home: Path) -> dict[str, Any] | None:
    try:
        document: dict[str, Any] = json.loads((home / SERVICES_FILE).read_text())
    except (FileNotFoundError, NotADirectoryError):
        return None
    return document


def _lock_home(home: Path) -> IO[str]:
    deadline = time.monotonic() + LOCK_SECONDS
    while (lock := try_lock(home)) is None:
        if (running := running_system(home)) or time.monotonic() > deadline:
            raise AlreadyRunsError(home, running["pid"] if running else None)
        time.sleep(PROBE_SECONDS)  # the guard of a killed supervisor holds the lock while it cleans up
    return lock


def _open_log(home: Path, name: str) -> IO[bytes]:
    log = home / "logs" / f"{name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    if log.exists() and log.stat().st_size > MAX_LOG_BYTES:
        log.replace(log.with_suffix(".log.1"))
    return log.open("ab")
