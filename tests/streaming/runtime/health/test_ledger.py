"""What the ledger says, read once for every file that was written since the last look."""

import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from streaming.domain.layout import hour_prefix
from streaming.edges.lake import LocalLake
from streaming.runtime.health.ledger import LedgerHealth, Recent, ledger_files, ledger_health, read_ledger
from tests.streaming.runtime.health.conftest import HOUR, NOW, WriteLedger

ONE_HOUR = timedelta(hours=1)


@pytest.fixture
def index(tmp_path: Path) -> Path:
    return tmp_path / "index.json"


def look(lake: LocalLake, index: Path, caught_up_to: datetime | None = NOW) -> LedgerHealth:
    return ledger_health(lake.root, index, NOW, caught_up_to, degraded_share=0.01)


def land(lake: LocalLake, hour: datetime, name: str = "a", at: datetime | None = None) -> None:
    """A raw file, which came at a moment; without one, now."""
    path = f"{hour_prefix('raw', hour)}/{name}.json.gz"
    lake.publish(path, b"")
    if at:
        os.utime(lake.path(path).parent, (at.timestamp(), at.timestamp()))


def test_a_lake_without_a_ledger(lake: LocalLake, index: Path) -> None:
    health = look(lake, index)
    assert (health.hours, health.last_sealed, health.red, health.overdue) == ({}, None, [], [])
    assert health.recent == Recent(0, 0, 0, {}, 0, 0)


def test_hours_by_state_with_the_red_ones_named_newest_first(
    lake: LocalLake, index: Path, write_ledger: WriteLedger
) -> None:
    long_ago = HOUR - timedelta(days=700)
    write_ledger(long_ago, "red", missing_records=2)
    write_ledger(HOUR - ONE_HOUR, "red", unknown_records=1)
    write_ledger(HOUR)
    write_ledger(HOUR + ONE_HOUR, "open")

    health = look(lake, index)

    assert health.hours == {"open": 1, "balanced": 1, "red": 2}
    assert (health.red, health.unaccounted_records) == ([HOUR - ONE_HOUR, long_ago], 3)
    assert health.last_sealed == HOUR


def test_the_recent_hours_are_summed_and_every_degraded_hour_is_named(
    lake: LocalLake, index: Path, write_ledger: WriteLedger
) -> None:
    newest = NOW.replace(minute=0)
    for hour in (newest, newest - ONE_HOUR):
        failed = {"failed_records": 3, "failures_by_type": '{"schema_violation": 2, "malformed_json": 1}'}
        write_ledger(hour, raw_records=100, enriched_records=97, conflicting_clicks=1, **failed)
    write_ledger(HOUR, raw_records=1000, enriched_records=1000, degraded_records=11)
    write_ledger(HOUR - ONE_HOUR, raw_records=1000, enriched_records=1000, degraded_records=10)

    health = look(lake, index)

    assert health.recent == Recent(200, 194, 6, {"schema_violation": 4, "malformed_json": 2}, 0, 2)
    assert health.degraded == [HOUR]


def test_a_file_is_opened_once_for_each_time_it_is_written(
    lake: LocalLake, index: Path, write_ledger: WriteLedger
) -> None:
    for hour in (HOUR, HOUR + ONE_HOUR):
        write_ledger(hour, "open")
    read_ledger(ledger_files(lake.root), index)
    index.write_bytes(index.read_bytes().replace(b'"open"', b'"remembered"'))
    write_ledger(HOUR + ONE_HOUR, "balanced")

    ledger = read_ledger(ledger_files(lake.root), index)

    assert {hour: row.state for hour, row in ledger.items()} == {HOUR: "remembered", HOUR + ONE_HOUR: "balanced"}


@pytest.mark.parametrize("content", [b"", b"[{}]", b"\x00", b'[{"arrival_hour": 1}]'])
def test_an_index_that_is_not_understood_is_made_anew(
    lake: LocalLake, index: Path, write_ledger: WriteLedger, content: bytes
) -> None:
    index.write_bytes(content)
    write_ledger(HOUR)
    assert look(lake, index).hours == {"balanced": 1}
    assert read_ledger(ledger_files(lake.root), index)[HOUR].state == "balanced"
    assert len(index.read_bytes()) > 10


def test_an_index_that_cannot_be_kept_costs_nothing_but_time(
    lake: LocalLake, tmp_path: Path, write_ledger: WriteLedger
) -> None:
    write_ledger(HOUR)
    assert look(lake, tmp_path / "no folder" / "index.json").hours == {"balanced": 1}


def test_hours_that_an_earlier_version_balanced(lake: LocalLake, index: Path, write_ledger: WriteLedger) -> None:
    write_ledger(HOUR, without=("degraded_records", "conflicting_clicks"), enriched_records=5)
    assert look(lake, index).degraded == []
    assert read_ledger(ledger_files(lake.root), index)[HOUR].conflicting_clicks == 0


class TestOverdue:
    def test_an_hour_with_arrivals_and_no_ledger_or_an_open_one(
        self, lake: LocalLake, index: Path, write_ledger: WriteLedger
    ) -> None:
        for hour in (HOUR, HOUR + ONE_HOUR, HOUR + 2 * ONE_HOUR):
            land(lake, hour, at=hour)
        write_ledger(HOUR + ONE_HOUR, "open")
        write_ledger(HOUR + 2 * ONE_HOUR, "red")
        assert look(lake, index).overdue == [HOUR + ONE_HOUR, HOUR]

    def test_not_before_its_time(self, lake: LocalLake, index: Path) -> None:
        for hours in (0, 1, 2):
            land(lake, NOW.replace(minute=0) - hours * ONE_HOUR)
        assert look(lake, index).overdue == [NOW.replace(minute=0) - 2 * ONE_HOUR]

    def test_not_while_delivery_is_not_done_with_it(self, lake: LocalLake, index: Path) -> None:
        land(lake, HOUR)
        assert look(lake, index, caught_up_to=HOUR + ONE_HOUR).overdue == []
        assert look(lake, index, caught_up_to=None).overdue == []

    def test_what_came_after_the_balance_and_has_waited(
        self, lake: LocalLake, index: Path, write_ledger: WriteLedger
    ) -> None:
        real_now = datetime.now(UTC)
        write_ledger(HOUR)
        land(lake, HOUR, at=HOUR)
        assert look(lake, index).overdue == []

        land(lake, HOUR, "late", at=real_now + ONE_HOUR)
        [hour] = ledger_health(lake.root, index, real_now + 4 * ONE_HOUR, real_now + 4 * ONE_HOUR, 0.01).overdue
        assert hour == HOUR
        assert ledger_health(lake.root, index, real_now + 2 * ONE_HOUR, real_now + 2 * ONE_HOUR, 0.01).overdue == []


def test_thousands_of_hours_are_looked_at_in_a_moment(lake: LocalLake, index: Path, write_ledger: WriteLedger) -> None:
    write_ledger(HOUR)
    [ledger] = lake.path("event_ledger").rglob("*.parquet")
    row = read_ledger(ledger_files(lake.root), index)[HOUR]
    hours = [HOUR - number * ONE_HOUR for number in range(5_000)]
    for hour in hours[1:]:
        folder = lake.path(hour_prefix("event_ledger", hour))
        folder.mkdir(parents=True)
        os.link(ledger, folder / ledger.name)
    written_at = ledger.stat().st_ctime_ns
    rows = [msgspec.structs.replace(row, arrival_hour=hour, written_at=written_at) for hour in hours]
    index.write_bytes(msgspec.json.encode(rows))

    began = time.process_time()
    assert look(lake, index).hours == {"balanced": 5_000}
    assert time.process_time() - began < 1
