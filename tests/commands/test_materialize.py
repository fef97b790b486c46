"""`./run materialize` and `./run verify`, over landing files."""

import json
import os
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from clickstream_assets.enriched.seal import ARRIVALS
from resources.lake import DirectoryLake
from streaming.domain.layout import hour_of, hour_prefix
from streaming.domain.tables import ENRICHED_EVENTS, EVENT_LEDGER
from streaming.edges.event_stream import DELIVERY, EVENTS
from streaming.edges.streams import open_event_stream
from streaming.settings import ROOT, load_settings
from tests.landing import Delivery, delivery, event_text, land

pytestmark = pytest.mark.timeout(120)

NOW = datetime.now(UTC)
BAD = Delivery(event_text(NOW, "bad", user_id=7), NOW, "b" * 32)


@pytest.fixture
def environment(tmp_path: Path, stream_redis_url: str, cache_redis_url: str, mysql_url: str) -> dict[str, str]:
    urls = {"REDIS_URL": stream_redis_url, "CACHE_REDIS_URL": cache_redis_url, "MYSQL_URL": mysql_url}
    return {"CLICKSTREAM_HOME": str(tmp_path), **urls}


@pytest.fixture
def lake(tmp_path: Path) -> DirectoryLake:
    return DirectoryLake(tmp_path / "lake")


def test_a_summary_is_the_last_line_and_everything_is_verified(
    environment: dict[str, str], lake: DirectoryLake
) -> None:
    good = delivery(NOW, "a", NOW)
    land(lake, [good, BAD], "repair-1")
    printed = json.loads(_run(environment, "materialize", status=0).splitlines()[-1])
    assert (printed["raw"], printed["enriched"], printed["failed"], printed["flattened"]) == (2, 1, 1, 1)
    assert printed["balanced"] is True
    acknowledged = lake.root / "acknowledged"
    acknowledged.write_text(f"{good.record_id}\n{BAD.record_id}\n")
    assert _broken(environment, "--open", "--acknowledged", str(acknowledged), status=0) == {}


def test_what_is_lost_doubled_or_made_up_is_named(environment: dict[str, str], lake: DirectoryLake) -> None:
    land(lake, [delivery(NOW, "a", NOW), BAD], "repair-1")
    _run(environment, "materialize", status=0)
    land(lake, [delivery(NOW, "unknown", NOW)], "repair-2")
    for raw in lake.list_hour("raw", NOW):
        raw.unlink()
    acknowledged = lake.root / "acknowledged"
    acknowledged.write_text(f"{'c' * 32}\n")
    broken = _broken(environment, "--open", "--acknowledged", str(acknowledged), status=1)
    assert broken["records_not_arrived"]["examples"] == [{"record_id": "c" * 32}]
    assert broken["records_unknown"]["broken"] == 3
    assert broken["hours_miscounted"]["broken"] == 1
    assert broken["clicks_not_flattened"]["examples"][0]["click_id"] == "unknown"


def test_what_is_behind_is_judged_only_where_nothing_may_be_on_its_way(
    environment: dict[str, str], lake: DirectoryLake
) -> None:
    land(lake, [delivery(NOW, "a", NOW)], "repair-1")
    _run(environment, "materialize", status=0)
    [unloaded] = lake.path("aggregated/events_by_type").rglob("*.csv")
    unloaded.unlink()
    assert _broken(environment, status=0) == {}
    assert _broken(environment, "--open", status=1).keys() == {"days_off"}


@pytest.fixture
def sealed(environment: dict[str, str], lake: DirectoryLake) -> datetime:
    """An hour of two records that is sealed, balanced and verified."""
    hour = hour_of(NOW) - timedelta(hours=3)
    land(lake, [delivery(hour, click, hour + timedelta(minutes=5)) for click in ("a", "b")], "repair-1")
    with closing(open_event_stream(load_settings(environment), EVENTS)) as stream:
        for shard in stream.list_shards():
            lease = stream.acquire(shard, DELIVERY, "test", 10)
            assert lease
            lease.checkpoint(None, NOW)
    _run(environment, "materialize", status=0)
    assert _broken(environment, status=0) == {}
    return hour


def test_a_file_that_comes_late_to_a_sealed_hour_is_not_judged_before_it_is_reopened(
    environment: dict[str, str], lake: DirectoryLake, sealed: datetime
) -> None:
    land(lake, [delivery(sealed, "late", sealed + timedelta(minutes=6))], "repair-2")

    assert _broken(environment, "--open", status=1).keys() >= {"records_lost", "hours_miscounted"}
    assert _broken(environment, status=0) == {}
    told = _verify(environment, "--json", status=0)
    assert "not judged: 1 hours of arrival" in told.stderr
    assert json.loads(told.stdout)["not_judged"] == {"arrival_hours": [str(sealed)], "event_hours": [], "days": []}
    _run(environment, "materialize", status=0)
    assert _broken(environment, status=0) == _broken(environment, "--open", status=0) == {}
    assert "not judged" not in _verify(environment, status=0).stderr


def test_a_record_that_a_sealed_and_balanced_hour_lost_is_named(
    environment: dict[str, str], lake: DirectoryLake, sealed: datetime
) -> None:
    files = [lake.partition(table, sealed) for table in (ENRICHED_EVENTS, EVENT_LEDGER)]
    enriched, ledger = (file for file in files if file)
    rows = pq.read_table(enriched, partitioning=None)
    # The ledger after it, as it was: nothing says that the hour is to be done again.
    for file, table in ((enriched, rows.slice(1)), (ledger, pq.read_table(ledger, partitioning=None))):
        dated = file.stat().st_mtime_ns
        pq.write_table(table, file)
        os.utime(file, ns=(dated, dated))

    broken = _broken(environment, status=1)

    assert broken["records_lost"]["broken"] == broken["hours_miscounted"]["broken"] == 1
    assert "not judged" not in _verify(environment, status=1).stderr


def test_an_hour_whose_ledger_is_gone_for_hours_is_named(
    environment: dict[str, str], lake: DirectoryLake, sealed: datetime
) -> None:
    ledger = lake.partition(EVENT_LEDGER, sealed)
    assert ledger
    ledger.unlink()
    _unchanged_for_hours(lake, sealed)

    assert _broken(environment, status=1).keys() == {"hours_not_in_ledger"}


def test_a_file_that_a_balanced_hour_lost_hours_ago_is_named(
    environment: dict[str, str], lake: DirectoryLake, sealed: datetime
) -> None:
    for raw in lake.list_hour("raw", sealed):
        raw.unlink()
    _unchanged_for_hours(lake, sealed)

    broken = _broken(environment, status=1)

    assert broken["records_unknown"]["broken"] == 2
    assert broken["hours_miscounted"]["broken"] == 1


def test_without_a_platform_or_a_lake_they_say_what_to_do(tmp_path: Path) -> None:
    environment = {"CLICKSTREAM_HOME": str(tmp_path)}
    assert "./run up" in _run(environment, "materialize", status=1)
    assert "CLICKSTREAM_HOME" in _run(environment, "verify", status=1)


def _unchanged_for_hours(lake: DirectoryLake, hour: datetime) -> None:
    """What came to an hour, or left it, did so longer ago than it is given to be settled."""
    long_ago = (NOW - timedelta(hours=2, minutes=5)).timestamp()
    for prefix in ARRIVALS:
        os.utime(lake.path(hour_prefix(prefix, hour)), (long_ago, long_ago))


def _broken(environment: dict[str, str], *options: str, status: int) -> dict[str, Any]:
    verdicts: dict[str, Any] = json.loads(_verify(environment, "--json", *options, status=status).stdout)["promises"]
    return {promise: verdict for promise, verdict in verdicts.items() if verdict["broken"]}


def _run(environment: dict[str, str], *arguments: str, status: int) -> str:
    finished = _finished(environment, *arguments, status=status)
    return finished.stderr if status and not finished.stdout else finished.stdout


def _verify(environment: dict[str, str], *options: str, status: int) -> subprocess.CompletedProcess[str]:
    return _finished(environment, "verify", *options, status=status)


def _finished(environment: dict[str, str], *arguments: str, status: int) -> subprocess.CompletedProcess[str]:
    finished = subprocess.run(
        [sys.executable, "-m", "commands", *arguments],
        env=environment, cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert finished.returncode == status, finished.stdout + finished.stderr
    return finished
