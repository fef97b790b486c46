"""The Dagster UI in a real browser: what a person sees of the platform that runs, and does by hand."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote, urlsplit

import dagster as dg
import pytest
from dagster._core.storage.tags import PARTITION_NAME_TAG
from playwright.sync_api import Page

from clickstream_assets.partitions import hour_key
from resources.lake import DirectoryLake
from streaming.domain.layout import hour_of
from streaming.runtime.supervisor import running_system
from streaming.settings import ROOT
from tests.browser import chromium, note_complaints
from tests.landing import delivery, land
from tests.streaming.conftest import geo_folder

__all__ = ["geo_folder"]

pytestmark = [pytest.mark.slow, pytest.mark.browser, pytest.mark.timeout(300)]

HOUR = hour_of(datetime.now(UTC)) - timedelta(hours=3)
ASSETS = {
    "ingestion": ["raw_events"],
    "enriched": ["enriched_events", "event_ledger"],
    "flattened": ["flattened_events"],
    "aggregates": ["events_by_country"],
    "reports": ["dashboard"],
    "catalog": ["catalog"],
}


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory, geo_folder: Path) -> Iterator[Mapping[str, str]]:
    """A platform that is up, with a few events of a closed hour in its lake: what its processes are told."""
    home = tmp_path_factory.mktemp("ui") / "home"
    moments = [HOUR + timedelta(minutes=minute) for minute in range(10)]
    land(DirectoryLake(home / "lake"), [delivery(moment, f"{moment}", moment) for moment in moments], "one")
    named = {"REDIS_URL", "CACHE_REDIS_URL", "MYSQL_URL", "COLLECTOR_PORT", "DAGSTER_URL"}
    environment = {name: value for name, value in os.environ.items() if name not in named}
    environment |= {"CLICKSTREAM_HOME": str(home), "GEOIP_DATABASE": str(geo_folder), "PYTHONPATH": str(ROOT)}
    _command("up", "--detach", environment=environment)
    try:
        system = running_system(home)
        assert system is not None
        yield system["environment"]
    finally:
        _command("down", environment=environment)


@pytest.fixture
def complaints() -> list[str]:
    """What the page asked of anyone but this machine, and what its console called an error."""
    return []


@pytest.fixture
def page(platform: Mapping[str, str], complaints: list[str]) -> Iterator[Page]:
    with chromium() as browser:
        page = browser.new_page(viewport={"width": 1600, "height": 900}, base_url=platform["DAGSTER_URL"])
        page.set_default_timeout(60_000)
        note_complaints(page, complaints, _is_local)
        yield page


def test_the_lineage_shows_every_layer_and_asks_nobody_else(page: Page, complaints: list[str]) -> None:
    for group, assets in ASSETS.items():  # one at a time: the UI draws only what is in sight
        page.goto(f"/asset-groups?expanded={quote(f'global@global:{group}')}")
        for asset in assets:
            page.locator("foreignObject").get_by_text(asset, exact=True).first.wait_for(state="attached")
    assert complaints == []


def test_a_partition_is_materialised_by_hand(
    page: Page, complaints: list[str], platform: Mapping[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    page.goto("/assets/enriched_events")
    page.get_by_role("button", name="Materialize").first.click()
    selected = page.get_by_role("dialog").locator("input[type=text]").first
    selected.fill(hour_key(HOUR))
    selected.press("Tab")
    page.get_by_role("button", name="Launch 1 run").click()
    page.get_by_role("button", name="Launch 1 run").wait_for(state="hidden")

    monkeypatch.setenv("DAGSTER_HOME", platform["DAGSTER_HOME"])
    with dg.DagsterInstance.get() as instance:
        run = _finished_run(instance, hour_key(HOUR))
        assert run.status == dg.DagsterRunStatus.SUCCESS
        written = instance.fetch_materializations(
            dg.AssetRecordsFilter(dg.AssetKey("enriched_events"), asset_partitions=[hour_key(HOUR)]), limit=1
        )
        assert written.records[0].asset_materialization.metadata["dagster/row_count"].value == 10

    page.goto(f"/assets/enriched_events?view=partitions&partition={quote(hour_key(HOUR))}")
    page.get_by_text("dagster/row_count").wait_for()
    page.goto("/assets/enriched_events?view=checks")
    page.get_by_text(re.compile("^(Passed|Succeeded)$")).first.wait_for()
    assert complaints == []


def test_the_dashboard_is_previewed_and_led_to(page: Page, complaints: list[str], platform: Mapping[str, str]) -> None:
    _command("materialize", environment={**os.environ, **platform, "PYTHONPATH": str(ROOT)})
    page.goto("/assets/dashboard")
    assert page.get_by_text(platform["DASHBOARD_URL"]).first.get_attribute("href") == platform["DASHBOARD_URL"]
    page.get_by_text("[Show Markdown]").click()
    picture = page.get_by_role("img", name="Events by day and by type")
    picture.wait_for()
    assert picture.evaluate("image => image.naturalWidth") > 400
    assert complaints == []


def _finished_run(instance: dg.DagsterInstance, partition: str, seconds: float = 90) -> dg.DagsterRun:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        runs = instance.get_runs(dg.RunsFilter(tags={PARTITION_NAME_TAG: partition}))
        if runs and runs[0].is_finished:
            return runs[0]
        time.sleep(0.5)
    raise AssertionError(f"no run of {partition} ended within {seconds} s")


def _is_local(url: str) -> bool:
    return urlsplit(url).scheme in ("data", "blob") or urlsplit(url).hostname == "127.0.0.1"


def _command(*arguments: str, environment: Mapping[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-m", "commands", *arguments],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
