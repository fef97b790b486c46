"""Faults while tables are made: runs that die, reruns, events that are late."""

import json
import sys
import time
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from streaming.domain.layout import day_prefix, hour_of, hour_prefix
from tests.faults.platform import Platform
from tests.landing import event_text

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

SETTINGS = {"CLICKSTREAM_START": "2025-10-01", "CLICKSTREAM_SHARDS": "8"}
EVENTS = 400


def test_24_a_run_is_killed_at_every_step(platform: Platform) -> None:
    hours = [hour_of(datetime.now(UTC)) - timedelta(hours=ago) for ago in (9, 8, 7)]
    _arrive(platform, 0, hours)
    platform.expect_invariant()
    old = _counts(platform)
    _arrive(platform, 1, hours)
    for table in ("enriched", "event_ledger", "flattened", "aggregated"):
        _kill_while_writing(platform, table)
        seen = _counts(platform)
        assert all(seen[key] in (count, 2 * count) for key, count in old.items()), "neither the old state nor the new"
    platform.expect_invariant()
    assert _counts(platform) == {key: 2 * count for key, count in old.items()}


def test_26_a_rerun_yields_fewer_files_and_rows(platform: Platform) -> None:
    hour = hour_of(datetime.now(UTC)) - timedelta(days=3)
    for minute in (10, 20, 30):
        _put_at(platform, 2, hour + timedelta(minutes=minute), event_text(hour, f"stays-{minute}"))
        platform.wait_delivered()  # a file for each
    elsewhere = event_text(hour, "moves", user_id="21", user_ip="23.40.0.1")
    _put_at(platform, 3, hour + timedelta(hours=1), elsewhere)
    platform.expect_invariant()
    day = f"WHERE date = '{hour:%Y-%m-%d}'"
    users = f"SELECT user_id, events FROM actions_by_customer {day} ORDER BY 1"
    assert platform.query(users) == [{"user_id": "20", "events": 3}, {"user_id": "21", "events": 1}]
    assert len(platform.query(f"SELECT city FROM events_by_city {day}")) == 2

    _put_at(platform, 4, hour, event_text(hour, "moves"))  # a copy that arrived earlier, and so is the one that counts
    platform.expect_invariant()
    assert platform.query(users) == [{"user_id": "20", "events": 4}]
    assert platform.query(f"SELECT city, events FROM events_by_city {day}") == [{"city": "Riverside", "events": 4}]
    assert len(_visible(platform, hour_prefix("enriched_landing", hour))) == 4
    for prefix in (
        hour_prefix("enriched", hour),
        hour_prefix("flattened", hour),
        day_prefix("aggregated/actions_by_customer", f"{hour:%Y-%m-%d}"),
    ):
        assert len(_visible(platform, prefix)) == 1
    [counts] = platform.query("SELECT count(*) AS n, count(DISTINCT record_id) AS records FROM enriched_events")
    assert counts["n"] == counts["records"]


def test_27_late_events_midnight_and_daylight_saving(platform: Platform) -> None:
    today = datetime.now(UTC).date()
    eve, day, old = (today - timedelta(days=days) for days in (4, 3, 40))
    _put_now(platform, {"eve": f"{eve} 23:59:59.999999", "midnight": f"{day} 00:00:00"})
    platform.expect_invariant()
    before = _files(platform, "")
    late = {
        "next-day-in-utc": (f"{eve}T23:30:00-01:00", f"{day} 00"),
        "late": (f"{old} 12:00:00.000001", f"{old} 12"),
        "summer-time": ("2025-11-02T01:30:00-07:00", "2025-11-02 08"),
        "winter-time": ("2025-11-02T01:30:00-08:00", "2025-11-02 09"),
    }
    _put_now(platform, {click: moment for click, (moment, _) in late.items()})
    platform.expect_invariant()
    rows = platform.query(
        "SELECT click_id, printf('%d-%02d-%02d %02d', year, month, day, hour) AS p FROM flattened_events "
        "WHERE click_id[:6] <> 'stays-' AND click_id[:6] <> 'moves'"
    )
    found = {row["click_id"]: row["p"] for row in rows}
    expected = {click: hour for click, (_, hour) in late.items()}
    assert {click: found[click] for click in expected} == expected
    after = _files(platform, "")
    changed = {
        str(path.parent.relative_to(platform.lake)) for path, inode in after.items() if before.get(path) != inode
    }
    hours = {datetime.strptime(hour, "%Y-%m-%d %H").replace(tzinfo=UTC) for hour in expected.values()}
    assert {path for path in changed if path.startswith("flattened/")} == {
        hour_prefix("flattened", hour) for hour in hours
    }
    assert {path for path in changed if path.startswith("aggregated/events_by_type/")} == {
        day_prefix("aggregated/events_by_type", f"{hour:%Y-%m-%d}") for hour in hours
    }


def _arrive(platform: Platform, shard: int, hours: Iterable[datetime]) -> None:
    """Some events arrive on a shard in every one of some hours, and happened then."""
    for hour in hours:
        moment = hour + timedelta(minutes=30)
        _put_at(platform, shard, moment, *(event_text(moment, f"{shard}-{hour}-{number}") for number in range(EVENTS)))


def _put_at(platform: Platform, shard: int, moment: datetime, *events: bytes) -> None:
    """Events arrive at a moment on a shard, which takes none that is earlier after that."""
    key = next(key for key in map(str, range(1000)) if platform.shard_of(key).endswith(str(shard)))
    platform.put_at(moment, events, key)


def _put_now(platform: Platform, moments: dict[str, str]) -> None:
    """Events arrive now; when they happened stands as it is written, by click."""
    event = json.loads(event_text(datetime.now(UTC), ""))
    platform.put(json.dumps({**event, "click_id": click, "timestamp": at}).encode() for click, at in moments.items())


def _counts(platform: Platform) -> dict[tuple[str, str], int]:
    """Events of every partition, as readers find them."""
    rows = platform.query(
        "SELECT t, date_trunc('hour', moment) AS p, sum(events) AS n FROM ("
        "SELECT 'enriched' AS t, arrival_timestamp AS moment, 1 AS events FROM enriched_events UNION ALL "
        "SELECT 'flattened', event_timestamp, 1 FROM flattened_events UNION ALL "
        "SELECT 'by type', date, events FROM events_by_type) GROUP BY ALL"
    )
    return {(row["t"], row["p"]): int(row["n"]) for row in rows}


def _kill_while_writing(platform: Platform, table: str) -> None:
    """Start a run, and kill it -9 as soon as it begins to write this table."""
    platform.wait_delivered()
    before = _files(platform, table)
    with platform.process(sys.executable, "-m", "commands", "materialize") as run:
        while _files(platform, table) == before:
            assert run.poll() is None, "it ended before it wrote"
            time.sleep(0.001)
        run.kill()


def _files(platform: Platform, prefix: str) -> dict[Path, int]:
    """The files below a prefix of the lake, those in the making too, and which they are."""
    try:
        return {path: path.stat().st_ino for path in (platform.lake / prefix).rglob("*.*")}
    except FileNotFoundError:  # one was renamed while we looked
        return {}


def _visible(platform: Platform, prefix: str) -> list[Path]:
    return [path for path in (platform.lake / prefix).iterdir() if not path.name.startswith(".")]
