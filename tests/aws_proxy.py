"""What stands between a client and an emulator of AWS, and fails as AWS does: by answer, by silence, or in part.

def fault(request: Request, forward: Forward) -> Answer | None: ...

AwsProxy(address, fault)   `fault` gets each request: it answers it itself, forwards it and returns or changes the
                           answer, or returns None, which cuts the connection
"""

import json
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Any, NamedTuple, Self

import urllib3

_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length"}


class Request(NamedTuple):
    """A request as the client sent it; `path` with its query."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def operation(self) -> str:
        """The operation of a JSON service, such as `PutRecords`; empty for S3 and others that name it elsewhere."""
        return self.headers.get("x-amz-target", "").rpartition(".")[2]


class Answer(NamedTuple):
    """An answer as the client gets it; `missing` is how many bytes more than it brings it says that it has."""

    status: int
    headers: dict[str, str]
    body: bytes
    missing: int = 0


Forward = Callable[[Request], Answer]
Fault = Callable[[Request, Forward], Answer | None]


class AwsProxy(ThreadingHTTPServer):
    """Forwards requests to the emulator at `upstream` through `fault`, which a test may exchange; runs inside `with`.

    `requests` are those that came, in order.
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, upstream: str, fault: Fault = lambda request, forward: forward(request)) -> None:
        self.fault = fault
        self.requests: list[Request] = []
        self._upstream = upstream
        self._pool = urllib3.PoolManager(maxsize=16)
        super().__init__(("127.0.0.1", 0), _Handler)
        self.address = f"http://127.0.0.1:{self.server_address[1]}"

    def __enter__(self) -> Self:
        Thread(target=self.serve_forever, args=[0.05], daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()
        self._pool.clear()

    def count(self, operation: str) -> int:
        """How many requests of an operation came."""
        return sum(request.operation == operation for request in list(self.requests))

    def forward(self, request: Request) -> Answer:
        """What the emulator answers."""
        answer = self._pool.request(
            request.method, self._upstream + request.path, body=request.body, headers=request.headers,
            retries=False, redirect=False, timeout=30, decode_content=False,
        )  # fmt: skip
        return Answer(answer.status, {name.lower(): value for name, value in answer.headers.items()}, answer.data)


class Faults:
    """A fault for the next `times` requests that `concerns` picks; all others pass."""

    def __init__(self, fault: Fault, times: int, concerns: Callable[[Request], bool]) -> None:
        self._fault = fault
        self._left = times
        self._concerns = concerns
        self._lock = Lock()

    def __call__(self, request: Request, forward: Forward) -> Answer | None:
        with self._lock:
            struck = self._left > 0 and self._concerns(request)
            self._left -= struck
        return self._fault(request, forward) if struck else forward(request)


def refuse(status: int, code: str) -> Fault:
    """AWS's error, by service: JSON where the request names its operation in a header, else S3's XML."""

    def fault(request: Request, _: Forward) -> Answer:
        if request.operation:
            body = json.dumps({"__type": code, "message": "injected"}).encode()
            return Answer(status, {"content-type": "application/x-amz-json-1.1"}, body)
        body = f'<?xml version="1.0"?><Error><Code>{code}</Code><Message>injected</Message></Error>'.encode()
        return Answer(status, {"content-type": "application/xml"}, body)

    return fault


def cut(_request: Request, _forward: Forward) -> None:
    """The connection breaks before the service has the request."""


def lose_answer(request: Request, forward: Forward) -> None:
    """The service does as it is asked, and the connection breaks before it says so."""
    forward(request)


def break_off(request: Request, forward: Forward) -> Answer:
    """The answer ends in its middle, and so does the connection."""
    answer = forward(request)
    half = len(answer.body) // 2
    return answer._replace(body=answer.body[:half], missing=len(answer.body) - half)


def refuse_records(indexes: Sequence[int], code: str = "ProvisionedThroughputExceededException") -> Fault:
    """PutRecords takes all but these records of the request, and says so in an answer of status 200."""

    def fault(request: Request, forward: Forward) -> Answer:
        asked: dict[str, Any] = json.loads(request.body)
        taken = [record for index, record in enumerate(asked["Records"]) if index not in indexes]
        answers: Iterator[dict[str, str]] = iter(())
        answer = Answer(200, {"content-type": "application/x-amz-json-1.1"}, b"")
        if taken:
            answer = forward(request._replace(body=json.dumps(asked | {"Records": taken}).encode()))
            answers = iter(json.loads(answer.body)["Records"])
        refused = {"ErrorCode": code, "ErrorMessage": "injected"}
        records = [refused if index in indexes else next(answers) for index in range(len(asked["Records"]))]
        failed = sum("ErrorCode" in record for record in records)
        body = json.dumps({"FailedRecordCount": failed, "Records": records}).encode()
        return answer._replace(body=body)

    return fault


class _Handler(BaseHTTPRequestHandler):
    server: AwsProxy
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def handle_one_request(self) -> None:
        with suppress(ConnectionError):
            super().handle_one_request()

    def answer(self) -> None:
        if self.headers.get("expect", "").lower() == "100-continue":
            self.send_response_only(100)
            self.end_headers()
        headers = {name.lower(): value for name, value in self.headers.items() if name.lower() != "expect"}
        request = Request(self.command, self.path, _end_to_end(headers), self._body(headers))
        self.server.requests.append(request)
        answer = self.server.fault(request, self.server.forward)
        if answer is None:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        self.send_response(answer.status)
        for name, value in _end_to_end(answer.headers).items():
            self.send_header(name, value)
        length = str(len(answer.body) + answer.missing)
        if request.method == "HEAD":
            length = answer.headers.get("content-length", "0")
        self.send_header("content-length", length)
        self.end_headers()
        self.wfile.write(answer.body)
        self.close_connection = self.close_connection or answer.missing > 0

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = answer  # noqa: N815

    def _body(self, headers: dict[str, str]) -> bytes:
        if headers.get("transfer-encoding") == "chunked":
            return b"".join(iter(self._chunk, b""))
        return self.rfile.read(int(headers.get("content-length", 0)))

    def _chunk(self) -> bytes:
        size = int(self.rfile.readline().partition(b";")[0], 16)
        data = self.rfile.read(size)
        self.rfile.readline()
        return data

    def log_message(self, *_: object) -> None:
        """Nothing: a test that fails shows what it asserts."""


def _end_to_end(headers: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name not in _HOP_BY_HOP}
