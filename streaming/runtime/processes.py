"""Processes known by identity, and how groups of them end: shared by the supervisor and the guard that outlives it.

A process id alone can be another process a moment later; here a process is its id and its start time.
"""

import fcntl
import os
import signal
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Self

import psutil

POLL_SECONDS = 0.02


@dataclass(frozen=True)
class ProcessIdentity:
    """A process that leads its own session, and how it wants to end. Times in seconds."""

    name: str
    pid: int
    started: float
    grace_seconds: float = 10.0
    after: tuple[str, ...] = ()

    @classmethod
    def of(cls, name: str, pid: int, grace_seconds: float = 10.0, after: Sequence[str] = ()) -> Self:
        """Identify a live process.

        Raises:
            psutil.NoSuchProcess: it has already gone.
        """
        return cls(name, pid, psutil.Process(pid).create_time(), grace_seconds, tuple(after))

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Self:
        """Read what `dataclasses.asdict` wrote."""
        return cls(**{**document, "after": tuple(document["after"])})

    def process(self) -> psutil.Process | None:
        """The live process, or None when it has ended (a zombie has) or its id belongs to another."""
        try:
            process = psutil.Process(self.pid)
            if process.create_time() == self.started and process.status() != psutil.STATUS_ZOMBIE:
                return process
        except psutil.NoSuchProcess:
            pass
        return None


def stop_in_order(identities: Iterable[ProcessIdentity]) -> list[str]:
    """Ask every process to end, dependants before what they depend on; kill the groups of those that do not.

    Returns the names that had to be killed. What a process leaves behind in its group is killed with it.
    """
    remaining = {identity.name: identity for identity in identities}
    killed: list[str] = []
    while remaining:
        needed = {name for identity in remaining.values() for name in identity.after}
        wave = [identity for name, identity in remaining.items() if name not in needed] or list(remaining.values())
        killed += _stop_together(wave)
        for identity in wave:
            del remaining[identity.name]
    return killed


def kill_group(leader: int) -> None:
    """Kill what is left of a process group; nothing left is fine."""
    with suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)


def try_lock(home: Path) -> IO[str] | None:
    """The lock of whoever looks after the processes of a home, or None when another holds it. Closing releases it."""
    lock = (home / "supervisor.lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        return None
    return lock


def _stop_together(wave: list[ProcessIdentity]) -> list[str]:
    alive = [identity for identity in wave if identity.process()]
    asked = time.monotonic()
    for identity in alive:
        with suppress(ProcessLookupError):
            os.kill(identity.pid, signal.SIGTERM)
    killed = []
    for identity in sorted(alive, key=lambda identity: identity.grace_seconds):
        # Not a wait for the process to be reaped: an orphan is its new parent's to reap, which may take its time.
        while identity.process():
            if time.monotonic() > asked + identity.grace_seconds:
                killed.append(identity.name)
                break
            time.sleep(POLL_SECONDS)
        kill_group(identity.pid)
    return killed
