"""A wire that a test may cut, slow down or scramble: it stands between a client and a server."""

import socket
import socketserver
import threading
from collections.abc import Callable
from contextlib import closing, suppress
from typing import Self
from urllib.parse import urlsplit

_CHUNK_BYTES = 65_536


class TcpProxy(socketserver.ThreadingTCPServer):
    """Forwards connections on `port` of loopback to the server of a URL; runs inside `with`.

    `answer` gets each piece of what the server says: what it returns goes on to the client, None cuts the connection.
    """

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, url: str, answer: Callable[[bytes], bytes | None] = lambda piece: piece) -> None:
        parts = urlsplit(url)
        self.upstream = (parts.hostname or "", parts.port or 0)
        self.answer = answer
        super().__init__(("127.0.0.1", 0), _Connection)
        self.port: int = self.server_address[1]

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, args=[0.05], daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()


class _Connection(socketserver.BaseRequestHandler):
    server: TcpProxy
    request: socket.socket

    def handle(self) -> None:
        with closing(socket.create_connection(self.server.upstream)) as upstream, suppress(OSError):
            threading.Thread(target=_forward, args=[self.request, upstream], daemon=True).start()
            while piece := upstream.recv(_CHUNK_BYTES):
                answer = self.server.answer(piece)
                if answer is None:
                    break
                self.request.sendall(answer)
            self.request.shutdown(socket.SHUT_RDWR)


def _forward(client: socket.socket, upstream: socket.socket) -> None:
    with suppress(OSError):
        while piece := client.recv(_CHUNK_BYTES):
            upstream.sendall(piece)
        upstream.shutdown(socket.SHUT_WR)
