"""Who may ask a server of this machine that has no login: its own pages, and whoever follows a link to it.

Loopback alone does not keep others out: a browser on this machine carries there what any web page asks for. So requests
that the pages of other sites make are refused, and so is a host name that is not this server's own, which could be
another site's made to lead here. `Sec-Fetch-Site` tells them apart, but not every browser sends it with every request,
a WebSocket's above all; those carry `Origin`.
"""

from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from streaming.runtime.servers import LOOPBACK_NAMES


class SameOriginOnly:
    """Middleware that refuses what pages of other sites ask for or frame; a link that leads here is followed."""

    def __init__(self, app: ASGIApp, own_name: str | None) -> None:
        self._app = app
        self._own_names = (*LOOPBACK_NAMES, own_name)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer 403."""
        if scope["type"] == "lifespan" or self._is_own(scope):
            await self._app(scope, receive, send)
        else:
            await PlainTextResponse("for this server's own pages only", 403)(scope, receive, send)

    def _is_own(self, scope: Scope) -> bool:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if urlsplit(f"//{host}").hostname not in self._own_names:
            return False
        if urlsplit(headers.get("origin", f"//{host}")).netloc != host:
            return False
        follows_link = scope.get("method") == "GET" and headers.get("sec-fetch-dest") == "document"
        return follows_link or headers.get("sec-fetch-site", "none") in ("none", "same-origin")
