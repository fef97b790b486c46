"""Hosts a Lambda's handler in this process, under Lambda's terms: one invocation at a time, a deadline, size limits.

InvocationError
 ├─ FunctionError          the handler raised, or answered what is no JSON
 ├─ FunctionTimeoutError   no answer before the deadline
 ├─ RequestTooLargeError   more than 6 MB to send
 └─ ResponseTooLargeError  more than 6 MB in answer
"""

import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import UTC, datetime
from queue import SimpleQueue
from threading import Lock, Thread
from typing import Any
from uuid import uuid4

import orjson
from prometheus_client import Counter

MAX_PAYLOAD_BYTES = 6 * 1024 * 1024
REGION = "local"
ACCOUNT = "000000000000"

INVOCATIONS = Counter("clickstream_function_invocations", "Invocations of a Lambda", ["function"])
INVOCATION_ERRORS = Counter("clickstream_function_errors", "Invocations that failed", ["function", "code"])
INVOCATION_SECONDS = Counter("clickstream_function_seconds", "Time spent in a Lambda", ["function"])

Handler = Callable[[dict[str, Any], Any], Any]


class InvocationError(Exception):
    """An invocation gave no usable answer. `code` is the one that Firehose records."""

    code = "Lambda.FunctionError"


class FunctionError(InvocationError):
    """The handler raised, or its answer is no JSON."""


class FunctionTimeoutError(InvocationError):
    """The handler did not answer before its deadline."""

    code = "Lambda.FunctionTimedOut"


class RequestTooLargeError(InvocationError):
    """The event is larger than Lambda takes."""

    code = "Lambda.RequestTooLarge"


class ResponseTooLargeError(InvocationError):
    """The answer is larger than Lambda gives."""

    code = "Lambda.ResponseTooLarge"


@dataclass(frozen=True)
class LambdaContext:
    """The context object of an invocation, as Lambda's Python runtime has it."""

    function_name: str
    invoked_function_arn: str
    aws_request_id: str
    log_stream_name: str
    deadline: float
    function_version: str = "$LATEST"
    memory_limit_in_mb: str = "512"
    identity: None = None
    client_context: None = None

    @property
    def log_group_name(self) -> str:
        return f"/aws/lambda/{self.function_name}"

    def get_remaining_time_in_millis(self) -> int:
        """Time left before the invocation times out."""
        return max(0, round((self.deadline - time.monotonic()) * 1000))


class LambdaHost:
    """One execution environment of a function. Its clients stay warm between invocations, and it serves one at a time.

    A handler that has timed out cannot be killed in process: the invocations after it wait for it, within their own
    deadlines, so that a handler that hangs never occupies more than one thread.
    """

    def __init__(self, name: str, handler: Handler, timeout_seconds: float) -> None:
        self.name = name
        self.arn = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{name}:$LATEST"
        self._handler = handler
        self._timeout_seconds = timeout_seconds
        self._log_stream = f"{datetime.now(UTC):%Y/%m/%d}/[$LATEST]{uuid4().hex}"
        self._turn = Lock()
        self._work: SimpleQueue[tuple[dict[str, Any], LambdaContext, Future[Any]]] = SimpleQueue()
        Thread(target=self._serve, name=f"lambda-{name}", daemon=True).start()

    def invoke(self, event: dict[str, Any]) -> Any:
        """The handler's answer to one event.

        Raises:
            InvocationError: there is none; see the classes below it.
        """
        INVOCATIONS.labels(self.name).inc()
        try:
            with self._turn:
                started = time.monotonic()
                answer = self._invoke(event)
                INVOCATION_SECONDS.labels(self.name).inc(time.monotonic() - started)
        except InvocationError as error:
            INVOCATION_ERRORS.labels(self.name, error.code).inc()
            raise
        return answer

    def _invoke(self, event: dict[str, Any]) -> Any:
        if len(orjson.dumps(event)) > MAX_PAYLOAD_BYTES:
            raise RequestTooLargeError(f"{self.name}: an event of more than {MAX_PAYLOAD_BYTES} bytes")
        future: Future[Any] = Future()
        self._work.put((event, self._context(), future))
        try:
            answer = future.result(self._timeout_seconds)
        except TimeoutError:
            future.cancel()
            raise FunctionTimeoutError(f"{self.name} timed out after {self._timeout_seconds:g} s") from None
        if _json_size(answer) > MAX_PAYLOAD_BYTES:
            raise ResponseTooLargeError(f"{self.name}: an answer of more than {MAX_PAYLOAD_BYTES} bytes")
        return answer

    def _context(self) -> LambdaContext:
        deadline = time.monotonic() + self._timeout_seconds
        return LambdaContext(self.name, self.arn, str(uuid4()), self._log_stream, deadline)

    def _serve(self) -> None:
        while True:
            event, context, future = self._work.get()
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(self._handler(event, context))
            except BaseException as error:
                future.set_exception(_function_error(error))


def _function_error(error: BaseException) -> FunctionError:
    raised = FunctionError(f"{type(error).__name__}: {error}")
    raised.__cause__ = error
    return raised


def _json_size(answer: Mapping[str, Any]) -> int:
    try:
        return len(orjson.dumps(answer))
    except TypeError as error:
        raise FunctionError(f"Runtime.MarshalError: {error}") from None
