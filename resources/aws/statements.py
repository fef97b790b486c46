"""Statements that an engine of AWS runs while we wait, Redshift's and Athena's: followed to their end, or cancelled."""

import hashlib
import time
from collections.abc import Callable
from typing import TypeVar
from uuid import uuid4

import dagster as dg
from botocore.exceptions import BotoCoreError, ClientError

__all__ = ["StatementError", "StatementTimeoutError", "check_size", "follow", "request_token", "run_of", "shown"]

FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 5.0
MOST_SHOWN = 2_000

Ended = TypeVar("Ended")


class StatementError(Exception):
    """An engine failed a statement, or did not end in time.

    The message shows the statement: ours hold no secret, only names, moments, days and whole numbers.
    """

    def __init__(self, engine: str, reason: str, statement: str) -> None:
        super().__init__(f"{engine}: {shown(reason)}\n{shown(statement)}")
        self.reason = reason


class StatementTimeoutError(StatementError):
    """A statement took longer than it may, and was cancelled."""


def check_size(engine: str, statement: str, most_bytes: int) -> None:
    """Refuse a statement that the engine would not take.

    Raises:
        StatementError: it is too long.
    """
    size = len(statement.encode())
    if size > most_bytes:
        raise StatementError(engine, f"{size} bytes are more than a statement may have", statement)


def follow(
    engine: str,
    statement: str,
    poll: Callable[[], Ended | None],
    cancel: Callable[[], object],
    timeout_seconds: float,
) -> Ended:
    """Ask until a statement has ended, in growing pauses; returns what `poll` tells then.

    Args:
        poll: tells how the statement ended, None while it runs.
        cancel: ends a statement that nobody waits for any more: the run was interrupted, or time is up.

    Raises:
        StatementTimeoutError: time is up.
    """
    deadline = time.monotonic() + timeout_seconds
    pause = FIRST_PAUSE_SECONDS
    try:
        while (ended := poll()) is None:
            if time.monotonic() + pause > deadline:
                raise StatementTimeoutError(engine, f"no end after {timeout_seconds:.0f} seconds", statement)
            time.sleep(pause)
            pause = min(1.5 * pause, LONGEST_PAUSE_SECONDS)
    except BaseException:
        _cancelled(cancel)
        raise
    return ended


def request_token(*parts: str) -> str:
    """64 characters that are the same for the same request: an answer that was lost does not run it twice."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def run_of(context: dg.InitResourceContext) -> str:
    """The run that a resource is opened for, for `request_token`; outside of runs, one of its own."""
    return context.run.run_id if context.run else str(uuid4())


def shown(text: str) -> str:
    """A text for a message: its begin, where it is long."""
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]} … ({len(text)} characters)"


def _cancelled(cancel: Callable[[], object]) -> None:
    """Cancel; where even that fails, what went wrong before is told, not this."""
    try:
        cancel()
    except (BotoCoreError, ClientError) as error:
        dg.get_dagster_logger().warning("a statement could not be cancelled and may run on: %s", error)
