"""A stub of ipinfo.io on loopback that answers as a test says."""

import json
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event

from tests.streaming.conftest import RIVERSIDE

DETAILS = {"ip": RIVERSIDE, "city": "Riverside", "region": "California", "country": "US", "loc": "33.9764,-117.3341"}
ANSWER = json.dumps({RIVERSIDE: DETAILS}).encode()
Answer = Callable[["StubRequest"], None]


class StubRequest(BaseHTTPRequestHandler):
    server: "StubIpinfo"

    def do_POST(self) -> None:
        ips = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.requests.append((self.path, self.headers["Authorization"], ips))
        self.server.answer(self)

    def reply(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(body))} | (headers or {})).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


class StubIpinfo(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), StubRequest)
        self.requests: list[tuple[str, str, list[str]]] = []
        self.answer: Answer = lambda request: request.reply(200, ANSWER)
        self.released = Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


def hang(request: StubRequest) -> None:
    request.server.released.wait(5)
    request.close_connection = True


def trickle(request: StubRequest) -> None:
    request.send_response(200)
    request.send_header("Content-Length", str(len(ANSWER)))
    request.end_headers()
    for byte in ANSWER:
        if request.server.released.wait(0.05):
            break
        request.wfile.write(bytes([byte]))
        request.wfile.flush()
