"""A service of AWS that speaks JSON over HTTP: operations are methods, faults are switched on by the test."""

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Any, Literal, Self

import botocore.session
from botocore.exceptions import ParamValidationError
from botocore.validate import validate_parameters

Fault = Literal["throttled", "broken", "lost"]


class ServiceError(Exception):
    """What the service answers instead: an error of its model."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class JsonService:
    """Answers operations by methods of their names in snake case. `calls`: the operations asked for, in order.

    Requests and answers are held to the service's model, which is botocore's.
    """

    service: str
    throttling = "ThrottlingException"
    internal_error = "InternalServerException"

    def __init__(self) -> None:
        self.calls: list[str] = []
        self._faults: dict[str, list[Fault]] = {}
        self._model = botocore.session.get_session().get_service_model(self.service)
        self._lock = Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self._thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def fail(self, operation: str, *faults: Fault) -> None:
        """Have the next requests of an operation fail: `throttled`, `broken` (500), `lost` (done, never answered)."""
        self._faults.setdefault(operation, []).extend(faults)

    def answer(self, operation: str, request: Mapping[str, Any]) -> tuple[int, Mapping[str, Any]] | None:
        """Status and body; None where the answer is lost."""
        with self._lock:
            self.calls.append(operation)
            faults = self._faults.get(operation)
            fault = faults.pop(0) if faults else None
        if fault == "throttled":
            return 400, {"__type": self.throttling, "message": "Rate exceeded"}
        if fault == "broken":
            return 500, {"__type": self.internal_error, "message": "An internal error occurred"}
        answered = self._answered(operation, request)
        return None if fault == "lost" else answered

    def _answered(self, operation: str, request: Mapping[str, Any]) -> tuple[int, Mapping[str, Any]]:
        method = getattr(self, re.sub(r"(?<!^)(?=[A-Z])", "_", operation).lower(), None)
        if method is None:
            return 400, {"__type": "UnknownOperationException", "message": f"{operation} is not stood in for"}
        model = self._model.operation_model(operation)
        try:
            validate_parameters(request, model.input_shape)
            answered = method(**request) or {}
            validate_parameters(answered, model.output_shape)
            return 200, answered
        except ServiceError as error:
            return 400, {"__type": error.code, "message": str(error), "Message": str(error)}
        except (ParamValidationError, TypeError) as error:
            return 400, {"__type": "ValidationException", "message": str(error)}

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _handler(service: JsonService) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            operation = self.headers["X-Amz-Target"].rpartition(".")[2]
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            answered = service.answer(operation, request)
            if answered is None:
                self.close_connection = True
                return
            status, body = answered
            content = json.dumps(body, default=str).encode()
            with suppress(ConnectionError):
                self.send_response(status)
                self.send_header("Content-Type", "application/x-amz-json-1.1")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    return Handler
