"""A stub of ipinfo.io on loopback that answers as a test says."""

import json
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from threading import Event, Thread
from typing import Self

from tests.streaming.conftest import RIVERSIDE

DETAILS = {"ip": RIVERSIDE, "city": "Riverside", "region": "California", "country": "US", "loc": "33.9764,-117.3341"}
ANSWER = json.dumps({RIVERSIDE: DETAILS}).encode()
Answer = Callable[["StubRequest"], None]


class StubRequest(BaseHTTPRequestHandler):
    server: "StubIpinfo"

    def do_POST(self) -> None:
        self.ips: list[str] = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.requests.append((self.path, self.headers["Authorization"], self.ips))
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
    """Answers inside `with`; at its end it lets go of who hangs."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), StubRequest)
        self.requests: list[tuple[str, str, list[str]]] = []
        self.answer: Answer = lambda request: request.reply(200, ANSWER)
        self.released = Event()

    def __enter__(self) -> Self:
        Thread(target=self.serve_forever, args=[0.05], daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.released.set()
        self.shutdown()
        self.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


def locate(request: StubRequest) -> None:
    """As ipinfo answers; one address that is none fails the whole request."""
    try:
        request.reply(200, json.dumps({ip: {**DETAILS, "ip": str(ip_address(ip))} for ip in request.ips}).encode())
    except ValueError:
        request.reply(400, b"invalid address")


def hang(request: StubRequest) -> None:
    request.server.released.wait(60)
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
