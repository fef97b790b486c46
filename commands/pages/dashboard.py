"""`python -m commands.pages.dashboard --port PORT`: the dashboard in a browser, until SIGTERM.

It serves the page that the asset `dashboard` published, its data for pages that are open, and how many events the
collector accepts a second. Who may ask is told as for the Dagster UI.
"""

import argparse
import asyncio
import hashlib
import re
import sys
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import httpx
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from clickstream_assets.dashboard.published import PAGE, content_policy, packed_data
from commands.pages.same_origin import SameOriginOnly
from streaming.runtime.http_server import serve
from streaming.runtime.servers import LOOPBACK
from streaming.runtime.structured_logs import log_to_stderr
from streaming.settings import Settings, load_settings

SAMPLE_SECONDS = 2.0
SAMPLES = 150
TIMEOUT_SECONDS = 2.0
_ACCEPTED = re.compile(r"^collector_events_accepted_total (\S+)$", re.MULTILINE)
_HEADERS = {"x-content-type-options": "nosniff", "referrer-policy": "no-referrer", "cache-control": "no-cache"}
_NOT_YET = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta http-equiv="refresh" content="10">
<meta name="viewport" content="width=device-width"><title>Clickstream dashboard</title></head>
<body><h1>No dashboard yet</h1>
<p>It is built when the first tables are, within a quarter of an hour of the first events.
<code>./run materialize</code> builds it now. This page looks again every ten seconds.</p></body></html>
"""


class Published(NamedTuple):
    """The page as it was written at a moment: what is served of it, each with its ETag."""

    written_at: int
    page: bytes
    data: bytes
    policy: str


class Rates:
    """Events accepted a second, the latest SAMPLES of them, from the collector's own count."""

    def __init__(self, collector_url: str) -> None:
        self._url = f"{collector_url}/metrics"
        self._last: tuple[float, float] | None = None
        self.latest: deque[float] = deque(maxlen=SAMPLES)

    async def follow(self) -> None:
        """Ask again and again; while there is no answer, or the count began anew, there is no rate."""
        async with httpx.AsyncClient(timeout=TIMEOUT_SECONDS) as client:
            while True:
                await self._sample(client)
                await asyncio.sleep(SAMPLE_SECONDS)

    async def _sample(self, client: httpx.AsyncClient) -> None:
        found = None
        with suppress(httpx.HTTPError):
            found = _ACCEPTED.search((await client.get(self._url)).text)
        if found is None:
            self._last = None
            self.latest.clear()
            return
        now, accepted = time.monotonic(), float(found[1])
        if self._last and accepted >= self._last[1]:
            self.latest.append(round((accepted - self._last[1]) / (now - self._last[0]), 1))
        self._last = now, accepted


class Dashboard:
    """The application."""

    def __init__(self, settings: Settings) -> None:
        self._file = settings.lake / PAGE
        self._rates = Rates(settings.collector_url)
        self._published: Published | None = None
        own_name = urlsplit(settings.dashboard_url).hostname
        self.application = Starlette(
            routes=[Route("/", self.get_page), Route("/data", self.get_data), Route("/live", self.get_rates)],
            middleware=[Middleware(SameOriginOnly, own_name=own_name)],
            lifespan=self._lifespan,
        )

    async def get_page(self, request: Request) -> Response:
        """The page, which knows that it is served."""
        published = await self._read()
        if published is None:
            return HTMLResponse(_NOT_YET, 503, {**_HEADERS, "content-security-policy": "default-src 'none'"})
        headers = {"content-security-policy": f"{published.policy}; frame-ancestors 'none'"}
        return _answer(request, published.page, "text/html; charset=utf-8", headers)

    async def get_data(self, request: Request) -> Response:
        """The data alone, for a page that is open."""
        published = await self._read()
        if published is None:
            return Response(status_code=503, headers=_HEADERS)
        return _answer(request, published.data, "text/plain", {})

    async def get_rates(self, _request: Request) -> Response:
        """Events a second, a number for each SAMPLE_SECONDS, the newest last."""
        return JSONResponse({"rates": list(self._rates.latest)}, headers=_HEADERS)

    async def _read(self) -> Published | None:
        try:
            at = self._file.stat().st_ctime_ns
            if self._published is None or self._published.written_at != at:
                self._published = await asyncio.to_thread(_published, self._file, at)
        except FileNotFoundError:
            return None
        return self._published

    @asynccontextmanager
    async def _lifespan(self, _application: Starlette) -> AsyncIterator[None]:
        following = asyncio.create_task(self._rates.follow())
        yield
        following.cancel()
        with suppress(asyncio.CancelledError):
            await following


def _published(file: Path, at: int) -> Published:
    page = file.read_bytes()
    served = page.replace(b'<html lang="en">', b'<html lang="en" data-served>', 1)
    return Published(at, served, packed_data(page), content_policy(page))


def _answer(request: Request, body: bytes, media_type: str, headers: dict[str, str]) -> Response:
    etag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    headers = {**_HEADERS, **headers, "etag": etag}
    if request.headers.get("if-none-match") == etag:
        return Response(status_code=304, headers=headers)
    return Response(body, media_type=media_type, headers=headers)


def main(arguments: list[str]) -> int:
    """Serve. Status 0 after a clean end, 3 where the server could not start."""
    parser = argparse.ArgumentParser(prog="python -m commands.pages.dashboard")
    parser.add_argument("--port", type=int, required=True)
    options = parser.parse_args(arguments)
    log_to_stderr("dashboard")
    return serve(Dashboard(load_settings()).application, LOOPBACK, options.port)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
