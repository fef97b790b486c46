"""Hours enriched anew from raw: reproducible, in bounded memory, and without the nulls that an outage left."""

import json
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from clickstream_assets.enriched.seal import seal, seal_hour
from resources.lake import DirectoryLake, partition_file
from resources.look_ups import EnrichmentSources, SnapshotLookUps
from resources.warehouse import DuckDBWarehouse
from streaming.domain.layout import hour_of
from streaming.domain.tables import ENRICHED_EVENTS
from streaming.edges.geo.ipinfo import IpinfoGeo
from streaming.edges.geo.mmdb import MmdbGeo
from streaming.edges.look_ups import LookUps
from streaming.edges.users_db import UsersDb
from streaming.settings import ROOT, load_settings
from tests.clickstream_assets.conftest import NOW
from tests.landing import delivery, land
from tests.streaming.ipinfo_stub import DETAILS, StubIpinfo, StubRequest

HOUR = hour_of(NOW)
OUTAGE = {"name": None, "place": None, "reasons": ("name:lookup_failed", "place:lookup_failed")}


class Snapshots:
    """Look-ups for a rebuild from a database and a geo provider, opened anew each time."""

    def __init__(self, mysql_url: str, geo: MmdbGeo | IpinfoGeo) -> None:
        self._mysql_url = mysql_url
        self._geo = geo

    def live(self) -> LookUps:
        raise AssertionError("a rebuild from raw asks the snapshot")

    def snapshot(self) -> SnapshotLookUps:
        return SnapshotLookUps(UsersDb(self._mysql_url), self._geo)


def sealed(lake: DirectoryLake) -> Path:
    return lake.path(partition_file(ENRICHED_EVENTS, HOUR))


def rows(lake: DirectoryLake) -> dict[str, dict[str, object]]:
    return {row["click_id"]: row for row in pq.read_table(sealed(lake), partitioning=None).to_pylist()}


@pytest.fixture
def sources(mysql_url: str, geo_folder: Path) -> Snapshots:
    return Snapshots(mysql_url, MmdbGeo(geo_folder))


@pytest.mark.parametrize("threads", [1, 4])
def test_equal_versions_give_equal_bytes(
    lake: DirectoryLake, warehouse: DuckDBWarehouse, sources: Snapshots, threads: int
) -> None:
    deliveries = [
        delivery(NOW, f"click-{i}", NOW + timedelta(microseconds=i * 37 % 1000), user_id=f"{i % 1200}")
        for i in range(3_000)
    ]
    land(lake, deliveries[:2_000], "one")
    land(lake, deliveries[1_000:], "two")
    seal_hour(HOUR, lake, warehouse, sources, from_raw=True)
    first = sealed(lake).read_bytes()

    other = DuckDBWarehouse(200_000_000, lake.root / ".duckdb", threads)
    assert seal_hour(HOUR, lake, other, sources, from_raw=True).rows == 3_000

    assert sealed(lake).read_bytes() == first


def test_it_fills_the_nulls_of_an_outage_and_says_from_what(
    lake: DirectoryLake, warehouse: DuckDBWarehouse, sources: Snapshots
) -> None:
    land(lake, [replace(delivery(NOW, "poor", NOW), **OUTAGE), delivery(NOW, "stranger", NOW, user_id="x")], "one")
    seal(HOUR, lake, warehouse)
    assert rows(lake)["poor"]["missing_reasons"] == "name:lookup_failed,place:lookup_failed"

    seal_hour(HOUR, lake, warehouse, sources, from_raw=True)

    poor, stranger = rows(lake)["poor"], rows(lake)["stranger"]
    assert (poor["name"], poor["city"], poor["missing_reasons"]) == ("Semyon Ryan", "Riverside", None)
    assert stranger["missing_reasons"] == "name:unknown_user"
    assert poor["enrichment_version"] == sources.snapshot().find((), ()).version == stranger["enrichment_version"]


def answer_with(city: str, ipinfo: StubIpinfo) -> None:
    """Places of ipinfo change from one day to the next."""

    def answer(request: StubRequest) -> None:
        ips = ipinfo.requests[-1][2]
        request.reply(200, json.dumps({ip: DETAILS | {"city": city} for ip in ips}).encode())

    ipinfo.answer = answer


@pytest.fixture
def unrepeatable(mysql_url: str, ipinfo: StubIpinfo) -> Snapshots:
    return Snapshots(mysql_url, IpinfoGeo("secret", deadline_seconds=5, base_url=ipinfo.url))


def test_look_ups_that_cannot_be_repeated_are_not(
    lake: DirectoryLake, warehouse: DuckDBWarehouse, unrepeatable: Snapshots, ipinfo: StubIpinfo
) -> None:
    land(lake, [delivery(NOW, "a", NOW), delivery(NOW, "b", NOW, user_ip="169.235.1.1")], "one")
    answer_with("Riverside", ipinfo)
    seal_hour(HOUR, lake, warehouse, unrepeatable, from_raw=True)
    first = sealed(lake).read_bytes()
    assert len(ipinfo.requests) == 1  # what landed was looked up with other geo data

    answer_with("Corona", ipinfo)
    seal_hour(HOUR, lake, warehouse, unrepeatable, from_raw=True)

    assert sealed(lake).read_bytes() == first
    assert len(ipinfo.requests) == 1


def test_what_an_outage_left_and_what_is_new_is_looked_up(
    lake: DirectoryLake, warehouse: DuckDBWarehouse, unrepeatable: Snapshots, ipinfo: StubIpinfo
) -> None:
    land(lake, [delivery(NOW, "a", NOW)], "one")
    answer_with("Riverside", ipinfo)
    seal_hour(HOUR, lake, warehouse, unrepeatable, from_raw=True)
    land(lake, [delivery(NOW, "b", NOW, user_ip="169.235.1.1"), delivery(NOW, "c", NOW, user_ip="10.0.0.1")], "two")
    ipinfo.answer = lambda request: request.reply(500, b"")
    seal_hour(HOUR, lake, warehouse, unrepeatable, from_raw=True)
    assert [rows(lake)[click]["city"] for click in "abc"] == ["Riverside", None, None]

    answer_with("Corona", ipinfo)
    seal_hour(HOUR, lake, warehouse, unrepeatable, from_raw=True)

    assert [rows(lake)[click]["city"] for click in "abc"] == ["Riverside", "Corona", None]
    assert rows(lake)["c"]["missing_reasons"] == "place:private_address"


def test_all_hours_of_a_run_share_a_snapshot(mysql_url: str) -> None:
    sources = EnrichmentSources(load_settings({"MYSQL_URL": mysql_url}))
    assert sources.snapshot() is sources.snapshot()


MEGABYTE = 1_000_000


def test_a_backfill_of_many_hours_takes_no_more_memory_than_one_of_few(tmp_path: Path, mysql_url: str) -> None:
    few, many = (backfill(tmp_path / str(hours), mysql_url, hours) for hours in (2, 24))
    assert (few["rows"], many["rows"]) == (40_000, 480_000)
    assert many["peak_bytes"] < few["peak_bytes"] + 40 * MEGABYTE
    assert many["peak_bytes"] < 500 * MEGABYTE


def backfill(home: Path, mysql_url: str, hours: int) -> dict[str, int]:
    environment = {
        "CLICKSTREAM_HOME": str(home),
        "CLICKSTREAM_START": "2026-11-01",
        "CLICKSTREAM_MEMORY_LIMIT_BYTES": "150000000",
        "MYSQL_URL": mysql_url,
        "PATH": "/usr/bin:/bin",
    }
    process = subprocess.run(
        [sys.executable, "-m", "tests.clickstream_assets.backfill_process", str(hours), "20000"],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    figures: dict[str, int] = json.loads(process.stdout.splitlines()[-1])
    assert figures["success"]
    return figures
