"""Who may ask the Dagster UI and the dashboard for what."""

import asyncio

import httpx
import pytest
from starlette.responses import PlainTextResponse

from commands.pages.same_origin import SameOriginOnly

LOCAL, PROXIED = "127.0.0.1:3000", "dagster.example.com"
CROSS_SITE = {"sec-fetch-site": "cross-site"}
LINK = {**CROSS_SITE, "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}


@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [
        ("GET", {"host": LOCAL}, 200),
        ("POST", {"host": LOCAL, "origin": f"http://{LOCAL}", "sec-fetch-site": "same-origin"}, 200),
        ("POST", {"host": PROXIED, "origin": f"https://{PROXIED}", "sec-fetch-site": "same-origin"}, 200),
        ("GET", {"host": LOCAL, **LINK}, 200),
        ("GET", {"host": LOCAL, **LINK, "sec-fetch-dest": "iframe"}, 403),
        ("POST", {"host": LOCAL, **LINK}, 403),
        ("GET", {"host": LOCAL, **CROSS_SITE, "sec-fetch-mode": "no-cors", "sec-fetch-dest": "image"}, 403),
        ("POST", {"host": LOCAL, "sec-fetch-site": "same-site"}, 403),
        ("POST", {"host": LOCAL, "origin": "https://example.com"}, 403),
        ("POST", {"host": LOCAL, "origin": "http://127.0.0.1:8080"}, 403),
        ("POST", {"host": LOCAL, "origin": "null"}, 403),
        ("POST", {"host": "rebound.example.com", "origin": "http://rebound.example.com"}, 403),
    ],
)
def test_only_its_own_pages_and_links_to_it_are_answered(method: str, headers: dict[str, str], status: int) -> None:
    app = SameOriginOnly(PlainTextResponse("here"), own_name=PROXIED)

    async def ask() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://ui") as client:
            return await client.request(method, "/", headers=headers)

    assert asyncio.run(ask()).status_code == status
