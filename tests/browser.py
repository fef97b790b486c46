"""Chromium, as tests drive it: quiet, and with an ear for what a page should not do."""

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, Page, sync_playwright

from commands.browser import ensure_chromium

QUIET = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip


@contextmanager
def chromium() -> Iterator[Browser]:
    with (
        sync_playwright() as playwright,
        playwright.chromium.launch(executable_path=ensure_chromium(print), args=QUIET) as browser,
    ):
        yield browser


def note_complaints(
    page: Page, complaints: list[str], is_own: Callable[[str], bool], levels: Collection[str] = ("error",)
) -> None:
    """Note what a page asks of any address but its own, logs at these levels, or fails at, while it is open."""
    page.on("request", lambda request: None if is_own(request.url) else complaints.append(request.url))
    page.on("console", lambda said: complaints.append(said.text) if said.type in levels else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
