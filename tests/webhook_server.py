"""A webhook on loopback that remembers what it was sent."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from streaming.runtime.servers import LOOPBACK


class WebhookServer:
    """Answers with `status`; only what it answers with a 2xx counts as taken. While it `hangs`, it answers nothing.

    `paths` are those that were posted to.
    """

    def __init__(self) -> None:
        self.status = 200
        self.hangs = False
        self.documents: list[dict[str, Any]] = []
        self.paths: list[str] = []
        self._closing = threading.Event()
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                server.paths.append(self.path)
                document = json.loads(self.rfile.read(int(self.headers["content-length"])))
                if server.hangs:
                    server._closing.wait()
                    return
                if 200 <= server.status < 300:
                    server.documents.append(document)
                self.send_response(server.status)
                if 300 <= server.status < 400:
                    self.send_header("location", server.url)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Nothing."""

        self._http = ThreadingHTTPServer((LOOPBACK, 0), Handler)
        self.url = f"http://{LOOPBACK}:{self._http.server_port}/services/T0KEN"
        self._thread = threading.Thread(target=self._http.serve_forever)
        self._thread.start()

    def close(self) -> None:
        self._closing.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()
