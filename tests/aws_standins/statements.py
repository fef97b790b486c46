"""Statements that run while their client asks how they are: each in a thread, once for each token."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from threading import Event, Lock, Thread
from typing import Any, NamedTuple
from uuid import uuid4

import duckdb
from botocore.exceptions import BotoCoreError, ClientError
from sqlglot.errors import SqlglotError

from tests.aws_standins.json_service import ServiceError


class EngineError(Exception):
    """Why a statement failed, in the engine's words."""


class Rows(NamedTuple):
    """What a SELECT answers; a statement that is none has neither."""

    columns: Sequence[str] = ()
    rows: Sequence[tuple[Any, ...]] = ()


@dataclass
class Statement:
    """One statement. `outcome`: None while it runs, then `finished`, `failed` or `cancelled`."""

    text: str
    context: Mapping[str, Any]
    statement_id: str = field(default_factory=lambda: str(uuid4()))
    submitted_at: float = field(default_factory=time.time)
    outcome: str | None = None
    error: str = ""
    answer: Rows = field(default_factory=Rows)
    cancelled: Event = field(default_factory=Event)


class Statements:
    """All statements of a service, by their ids. `slow_seconds`: how long each one takes at least."""

    def __init__(self, execute: Callable[[Statement], Rows]) -> None:
        self.slow_seconds = 0.0
        self.all: list[Statement] = []
        self._execute = execute
        self._failures: list[tuple[str, str]] = []
        self._by_token: dict[str, Statement] = {}
        self._lock = Lock()

    def fail(self, containing: str, error: str) -> None:
        """Have the next statement with this in its text fail."""
        self._failures.append((containing, error))

    def submit(self, text: str, context: Mapping[str, Any], token: str) -> Statement:
        """The statement of this token; it begins to run where the token is new."""
        with self._lock:
            known = self._by_token.get(token)
            if known:
                if known.text != text:
                    raise ServiceError("ValidationException", "the token was used for another statement")
                return known
            statement = self._by_token[token] = Statement(text, context)
            self.all.append(statement)
        Thread(target=self._run, args=[statement], daemon=True).start()
        return statement

    def cancel(self, statement: Statement) -> bool:
        """End a statement that runs; whether it did."""
        with self._lock:
            if statement.outcome is None:
                statement.outcome = "cancelled"
                statement.cancelled.set()
                return True
        return False

    def __getitem__(self, statement_id: str) -> Statement:
        for statement in self.all:
            if statement.statement_id == statement_id:
                return statement
        raise ServiceError("ResourceNotFoundException", f"no statement {statement_id}")

    def _run(self, statement: Statement) -> None:
        outcome, error, answer = "finished", "", Rows()
        if self.slow_seconds and statement.cancelled.wait(self.slow_seconds):
            return
        failure = next((each for each in self._failures if each[0] in statement.text), None)
        try:
            if failure:
                self._failures.remove(failure)
                raise EngineError(failure[1])
            answer = self._execute(statement)
        except (EngineError, duckdb.Error, SqlglotError, ClientError, BotoCoreError) as problem:
            outcome, error = "failed", f"ERROR: {problem}"
        with self._lock:
            if statement.outcome is None:
                statement.answer, statement.error, statement.outcome = answer, error, outcome
