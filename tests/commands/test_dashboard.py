"""The dashboard as a person gets it: one file from the command line, and the page that a running platform serves."""

import asyncio
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Page, expect

from clickstream_assets.dashboard.assets import publish
from commands.pages.dashboard import Dashboard
from resources.lake import DirectoryLake
from resources.warehouse import DuckDBWarehouse
from streaming.settings import load_settings
from tests.browser import chromium, note_complaints
from tests.clickstream_assets.dashboard_tables import make_tables, shop_events
from tests.commands.conftest import system_with

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def lake(home: Path) -> DirectoryLake:
    return DirectoryLake(home / "lake")


def make_shop(lake: DirectoryLake, days: int) -> None:
    make_tables(lake, DuckDBWarehouse(200_000_000, lake.root.parent / "duckdb"), shop_events(days, 20))


def ask(lake: DirectoryLake, path: str, headers: Mapping[str, str] | None = None) -> httpx.Response:
    settings = load_settings({"CLICKSTREAM_HOME": str(lake.root.parent)})

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(Dashboard(settings).application)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8050") as client:
            return await client.get(path, headers=headers)

    return asyncio.run(ask())


def test_it_is_written_to_a_file_without_a_platform(
    lake: DirectoryLake, environment: Mapping[str, str], tmp_path: Path
) -> None:
    command = [sys.executable, "-P", "-m", "commands", "dashboard", "--output", "report.html"]

    def run() -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=100
        )

    nothing = run()
    assert nothing.returncode == 1
    assert "there are no events in the tables" in nothing.stderr
    assert not (tmp_path / "report.html").exists()
    make_shop(lake, days=1)
    written = run()
    assert (written.returncode, written.stdout) == (0, "report.html\n"), written.stderr
    page = (tmp_path / "report.html").read_text()
    assert page.startswith("<!doctype html>")
    assert re.findall(r'(?:src|href)="(?!data:|#)', re.sub(r"<script>.*?</script>", "", page, flags=re.DOTALL)) == []

    of_another_release = next(lake.path("aggregated/events_by_type").rglob("*.csv"))
    of_another_release.write_text("event_name\nSearch\n")
    failed = run()
    assert failed.returncode == 1
    assert "./run materialize writes them anew" in failed.stderr
    assert (tmp_path / "report.html").read_text() == page


def test_before_the_first_build_it_says_what_to_do(lake: DirectoryLake) -> None:
    answer = ask(lake, "/")
    assert answer.status_code == 503
    assert "./run materialize" in answer.text
    assert ask(lake, "/data").status_code == 503


def test_it_is_served_for_its_own_pages_and_sent_once(lake: DirectoryLake) -> None:
    make_shop(lake, days=1)
    publish(lake, 200_000_000)
    page = ask(lake, "/")
    assert page.status_code == 200
    policy = page.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy
    assert "http" not in policy
    assert page.headers["x-content-type-options"] == "nosniff"
    for path in ("/", "/data"):
        etag = ask(lake, path).headers["etag"]
        assert ask(lake, path, {"if-none-match": etag}).status_code == 304
        assert ask(lake, path, {"origin": "https://example.com"}).status_code == 403
        assert ask(lake, path, {"host": "rebound.example.com"}).status_code == 403


@pytest.fixture
def page() -> Iterator[Page]:
    with chromium() as browser:
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.set_default_timeout(60_000)
        yield page


@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.timeout(300)
def test_newer_data_and_the_live_rate_reach_a_page_that_is_open(
    start: Start, home: Path, lake: DirectoryLake, environment: Mapping[str, str], page: Page
) -> None:
    up = start("up", "--no-dagster")
    addresses = system_with(up, home, "dashboard", "collector")["environment"]
    make_shop(lake, days=2)
    publish(lake, 200_000_000)
    complaints: list[str] = []
    own = addresses["DASHBOARD_URL"]
    note_complaints(page, complaints, lambda url: url.startswith(own))
    page.goto(own)
    page.wait_for_selector("html[data-ready]")
    assert page.locator("#events .value").inner_text() == "40"
    page.get_by_role("button", name="Purchase").first.click()
    before = page.evaluate("location.hash")

    make_shop(lake, days=3)
    publish(lake, 200_000_000)
    expect(page.locator("#period")).to_contain_text("Nov 18, 2026", timeout=60_000)
    assert page.evaluate("location.hash") == before
    assert page.locator("#events .about").inner_text() == "Search, ViewContent, AddToCart"
    assert int(page.locator("#events .value").inner_text()) + int(page.locator("#purchases .value").inner_text()) == 60

    sent = start("send", "--events", "2000", "--rate", "100")
    expect(page.locator("#live .value")).to_contain_text(re.compile(r"^[1-9]\d[\d.]*/s$"), timeout=60_000)
    assert sent.wait(60) == 0
    assert complaints == []
    up.terminate()
    assert up.wait(90) == 0
