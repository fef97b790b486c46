"""The HTTP server under an application: uvicorn, with bounds on what a slow or endless client can hold."""

import asyncio
import signal

import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEADER_SECONDS = 10.0
MAX_HEADER_BYTES = 65_536
MAX_CONNECTIONS = 1_000
SHUTDOWN_SECONDS = 8


def serve(application: Starlette, host: str, port: int) -> int:
    """Serve until SIGTERM or SIGINT, then finish what is in flight. Status 0 after that, 3 where it could not start."""
    config = uvicorn.Config(
        application,
        host=host,
        port=port,
        http=BoundedHeaders,
        loop="uvloop",
        ws="none",
        lifespan="on",
        proxy_headers=False,
        server_header=False,
        access_log=False,
        log_config=None,
        backlog=MAX_CONNECTIONS,
        limit_concurrency=MAX_CONNECTIONS,
        timeout_keep_alive=65,
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
    )
    server = uvicorn.Server(config)
    # uvicorn raises the signal that ended it once more, for whoever handled it before: that must not be the default.
    for ending in (signal.SIGTERM, signal.SIGINT):
        signal.signal(ending, server.handle_exit)
    server.run()
    return 0 if server.started else 3


class BoundedHeaders(HttpToolsProtocol):
    """A connection whose every request must bring its head within HEADER_SECONDS and MAX_HEADER_BYTES.

    uvicorn itself bounds neither; the body is bounded where it is read.
    """

    _deadline: asyncio.TimerHandle | None = None
    _head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client connected and owes a head."""
        super().connection_made(transport)
        self._expect_head()

    def data_received(self, data: bytes) -> None:
        """Count the bytes of a head that has not ended."""
        super().data_received(data)
        if self._deadline is not None:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEADER_BYTES:
                self.transport.abort()

    def on_message_begin(self) -> None:
        """A request begins, perhaps a later one of its connection."""
        if self._deadline is None:
            self._expect_head()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """The head is whole."""
        self._head_ended()
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone."""
        self._head_ended()
        super().connection_lost(exc)

    def _expect_head(self) -> None:
        self._head_bytes = 0
        self._deadline = self.loop.call_later(HEADER_SECONDS, self.transport.abort)

    def _head_ended(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
