"""Each condition holds when it should, says what is wrong, and not a moment earlier."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from streaming.runtime.health.alerts import CONDITIONS, active_alerts
from streaming.runtime.health.report import Health, Process, ShardBacklog
from streaming.settings import ROOT, Settings, load_settings
from tests.streaming.runtime.health.conftest import HOUR, NOW

SETTINGS = load_settings({"REDIS_URL": "redis://127.0.0.1:1", "CLICKSTREAM_DELIVERY_BUFFER_SECONDS": "60"})
HOURS = [HOUR - timedelta(hours=number) for number in range(7)]


def alerts(health: Health, settings: Settings = SETTINGS) -> list[tuple[str, str]]:
    return [(alert.name, alert.summary) for alert in active_alerts(health, settings)]


def ledger(health: Health, **changes: Any) -> Health:
    return replace(health, ledger=replace(health.ledger, **changes))


def stream(health: Health, **changes: Any) -> Health:
    assert health.stream
    return replace(health, stream=replace(health.stream, **changes))


def behind(
    consumer: str,
    records: int = 0,
    age: float = 0,
    trimmed: int = 0,
    lost: int = 0,
    lost_at: datetime | None = None,
) -> ShardBacklog:
    limit = 1000 if consumer == "delivery" else None
    return ShardBacklog("events", consumer, "shardId-000000000000", records, limit, age, trimmed, lost, lost_at)


def test_all_is_well(well: Health) -> None:
    assert alerts(well) == []


def test_nothing_runs_and_nothing_is_wrong(well: Health) -> None:
    stopped = replace(well, processes={}, stream=None, refused=None)
    assert alerts(stopped, load_settings({})) == []


def test_processes_that_are_not_ready(well: Health) -> None:
    processes = well.processes | {"delivery": Process(2, "dead"), "mariadb": Process(3, "starting")}
    assert alerts(replace(well, processes=processes)) == [("process_down", "delivery is dead, mariadb is starting")]


def test_a_stream_and_a_collector_that_do_not_answer(well: Health) -> None:
    names = [name for name, _ in alerts(replace(well, stream=None, refused=None))]
    assert names == ["stream_down", "collector_down"]


def test_red_hours_are_named(well: Health) -> None:
    red = ledger(well, red=HOURS, unaccounted_records=3)
    named = "2026-11-23 05:00, 2026-11-23 04:00, 2026-11-23 03:00, 2026-11-23 02:00, 2026-11-23 01:00 and 2 more hours"
    assert alerts(red) == [("ledger_red", f"3 records are unaccounted for in {named}")]


def test_overdue_hours_are_named(well: Health) -> None:
    [(name, summary)] = alerts(ledger(well, overdue=HOURS[:1]))
    assert (name, "2026-11-23 05:00" in summary) == ("hour_overdue", True)


@pytest.mark.parametrize(("seconds", "found"), [(299, []), (300, ["hour_overdue"])])
def test_a_platform_that_has_just_started_settles_what_was_left_first(
    well: Health, seconds: int, found: list[str]
) -> None:
    started = replace(ledger(well, overdue=HOURS[:1]), up_since=NOW - timedelta(seconds=seconds))
    assert [name for name, _ in alerts(started)] == found


def test_degraded_hours_are_named(well: Health) -> None:
    summary = "more than 1.0% of the rows lack a name or place: 2026-11-23 05:00"
    assert alerts(ledger(well, degraded=HOURS[:1])) == [("degraded_high", summary)]


@pytest.mark.parametrize(
    ("age", "late"), [(360.0, []), (361.0, [("delivery_late", "delivery to the lake is 361 s behind")])]
)
def test_delivery_may_be_late_by_its_buffer_and_the_delay(well: Health, age: float, late: list[Any]) -> None:
    assert alerts(stream(well, delivery_age_seconds=age)) == late


@pytest.mark.parametrize(
    ("row", "found"),
    [
        (behind("delivery", records=500), []),
        (behind("delivery", records=501), [("backlog_high", "a shard holds 50% of the records it takes")]),
        (behind("last_access", records=10_000), []),
        (behind("last_access", age=300), []),
        (behind("last_access", age=301), [("consumer_late", "last_access is 301 s behind")]),
        (behind("delivery", age=301), []),
        (behind("last_access", trimmed=2), [("records_lost", "last_access never read 2 records")]),
        (behind("last_access", lost=7, lost_at=NOW - timedelta(hours=25)), []),
        (
            behind("last_access", trimmed=2, lost=7, lost_at=NOW - timedelta(hours=23)),
            [("records_lost", "last_access never read 9 records")],
        ),
    ],
)
def test_backlogs(well: Health, row: ShardBacklog, found: list[Any]) -> None:
    assert alerts(stream(well, backlog=[behind("high_intent"), row])) == found


@pytest.mark.parametrize(("failed", "high"), [(50, False), (51, True)])
def test_a_share_of_failures(well: Health, failed: int, high: bool) -> None:
    recent = replace(well.ledger.recent, failed_records=failed, failures_by_type={"malformed_json": failed})
    summary = f"5.1% of the records of the last 3 hours failed: malformed_json {failed}"
    assert alerts(ledger(well, recent=recent)) == ([("failures_high", summary)] if high else [])


@pytest.mark.parametrize(("used", "full"), [(90, False), (91, True)])
def test_a_disk_that_fills_up(well: Health, used: int, full: bool) -> None:
    disk = replace(well, disk_used_bytes=used * 10**9, disk_free_bytes=(100 - used) * 10**9)
    summary = "the lake's disk is 91% full, 9.0 GB are left"
    assert alerts(disk) == ([("disk_nearly_full", summary)] if full else [])


def test_thresholds_are_settings(well: Health) -> None:
    strict = load_settings(
        {
            "CLICKSTREAM_ALERT_DELAY_SECONDS": "1",
            "CLICKSTREAM_DELIVERY_BUFFER_SECONDS": "0",
            "CLICKSTREAM_ALERT_FAILED_SHARE": "0.005",
        }
    )
    late = stream(well, delivery_age_seconds=2.0)
    assert [name for name, _ in alerts(late, strict)] == ["delivery_late", "failures_high"]


def test_every_alert_is_documented_with_what_mends_it() -> None:
    page = (ROOT / "docs" / "operations.md").read_text()
    assert [condition.name for condition in CONDITIONS if f"| `{condition.name}` |" not in page] == []
