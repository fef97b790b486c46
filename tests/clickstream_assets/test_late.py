"""An event that is 40 days late changes its hour and the days that depend on it, and nothing else, and says why."""

from datetime import date, timedelta
from pathlib import Path
from typing import NamedTuple

import dagster as dg
import pytest

from clickstream_assets.aggregates.dependence import Dependence
from clickstream_assets.aggregates.registry import AGGREGATES
from clickstream_assets.partitions import hour_key
from clickstream_assets.requests import BECAUSE
from resources.lake import DirectoryLake
from resources.warehouse import DuckDBWarehouse
from streaming.domain.layout import hour_of
from tests.clickstream_assets.conftest import NOW, DeliveryTo
from tests.clickstream_assets.daemon import Daemon
from tests.clickstream_assets.layers import aggregate_pending, flatten_pending, settle
from tests.landing import delivery, land

LATE = NOW - timedelta(days=40)
LATE_DAY = LATE.date()
DAYS = [LATE_DAY + timedelta(days=number) for number in (-2, -1, 0, 1, 2, 29, 30, 40)]
AFTER = {
    Dependence.DAY: [LATE_DAY],
    Dependence.NEIGHBOURS: [LATE_DAY + timedelta(days=step) for step in (-1, 0, 1)],
    Dependence.MONTH: [LATE_DAY + timedelta(days=step) for step in (0, 1, 2, 29)],
    Dependence.HISTORY: [day for day in DAYS if day >= LATE_DAY],
}
SENSORS = ("reopen_late_hours", "flatten_touched_hours", "aggregate_touched_days")


class Identity(NamedTuple):
    inode: int
    changed: int
    content: bytes


def tables(lake: DirectoryLake) -> dict[Path, Identity]:
    """What makes up the tables that are rebuilt for late events, and the prices that are kept."""
    files = (
        file for folder in ("flattened", "aggregated", "customer_prices") for file in lake.path(folder).rglob("*.*")
    )
    return {
        file.relative_to(lake.root): Identity(file.stat().st_ino, file.stat().st_mtime_ns, file.read_bytes())
        for file in files
    }


@pytest.fixture
def complete_lake(lake: DirectoryLake, warehouse: DuckDBWarehouse) -> DirectoryLake:
    """Days with an event each, everything up to date."""
    land(lake, [delivery(LATE - timedelta(days=1), "in time", LATE - timedelta(days=1))], "long-ago")
    land(lake, [delivery(LATE + (day - LATE_DAY), f"{day}", NOW) for day in DAYS], "one")
    settle(lake, warehouse)
    flatten_pending(lake, warehouse)
    aggregate_pending(lake, warehouse)
    return lake


@pytest.fixture
def daemon(
    definitions: dg.Definitions, instance: dg.DagsterInstance, complete_lake: DirectoryLake, delivered: DeliveryTo
) -> Daemon:
    daemon = Daemon(definitions, instance, complete_lake, delivered)
    assert [daemon.tick(sensor) for sensor in SENSORS] == [[], [], []]
    return daemon


def test_it_changes_its_hour_and_the_days_that_depend_on_it_alone(
    daemon: Daemon, complete_lake: DirectoryLake, instance: dg.DagsterInstance
) -> None:
    lake, before, ran = complete_lake, tables(complete_lake), len(instance.get_runs())
    land(lake, [delivery(LATE, "late", NOW, user_id="late")], "two")

    for sensor in SENSORS:
        daemon.tick(sensor)

    after = tables(lake)
    changed = {path for path in after if after[path] != before.get(path)}
    flattened = {path for path in changed if path.parts[0] == "flattened"}
    assert flattened == {Path(f"flattened/{LATE:year=%Y/month=%m/day=%d/hour=%H}/flattened_events.parquet")}
    assert not any(path.is_relative_to("customer_prices") for path in changed)
    for aggregate in AGGREGATES:
        folder = Path("aggregated", aggregate.name)
        days = sorted(date.fromisoformat(path.parts[2][5:]) for path in changed if path.is_relative_to(folder))
        assert days == AFTER[aggregate.depends_on], aggregate.name
    assert set(after) == set(before)
    new_users = [after[Path(f"aggregated/new_and_returning_users/date={day}/new_and_returning_users.csv")].content
                 for day in AFTER[Dependence.HISTORY][:2]]  # fmt: skip
    assert new_users == [b"users|new_users|returning_users\n2|1|1\n", b"users|new_users|returning_users\n1|0|1\n"]

    materialised: dict[str, set[str]] = {}
    for run in instance.get_runs(limit=len(instance.get_runs()) - ran):
        for entry in instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION):
            event = entry.dagster_event.step_materialization_data.materialization
            materialised.setdefault(event.asset_key.to_user_string(), set()).add(event.partition)
    assert materialised.pop("flattened_events") == {hour_key(hour_of(LATE))}
    for aggregate in AGGREGATES:
        assert materialised.pop(aggregate.name) == {day.isoformat() for day in AFTER[aggregate.depends_on]}
    assert materialised.pop("customer_prices") == {LATE_DAY.isoformat()}
    assert set(materialised) == {"enriched_events", "failed_events", "event_ledger"}
    assert set.union(*materialised.values()) == {hour_key(hour_of(NOW))}  # the hour it arrived in

    asked = len(daemon.requested)
    for sensor in SENSORS:
        assert daemon.tick(sensor) == []
    assert len(daemon.requested) == asked
    assert tables(lake) == after


def test_the_ui_shows_why(daemon: Daemon, complete_lake: DirectoryLake, instance: dg.DagsterInstance) -> None:
    land(complete_lake, [delivery(LATE, "late", NOW)], "two")

    for sensor in SENSORS:
        daemon.tick(sensor)

    late_hour, arrival_hour = hour_key(hour_of(LATE)), hour_key(hour_of(NOW))
    flattened = instance.get_latest_materialization_event(dg.AssetKey("flattened_events")).asset_materialization
    assert flattened.partition == late_hour
    assert flattened.metadata["arrival_hours"].value == [arrival_hour]
    assert flattened.metadata["changed_arrival_hours"].value == [arrival_hour]
    day = instance.get_latest_materialization_event(dg.AssetKey("events_by_type")).asset_materialization
    assert (day.partition, day.metadata["changed_hours"].value) == (LATE_DAY.isoformat(), late_hour)
    history = instance.get_latest_materialization_event(dg.AssetKey("new_and_returning_users")).asset_materialization
    assert (history.partition, history.metadata["changed_hours"].value) == (DAYS[-1].isoformat(), late_hour)
    reasons = [request.tags[BECAUSE] for request in daemon.requested]
    assert reasons[0] == "files came after the seal"
    assert reasons[1] == f"arrivals of {arrival_hour} changed {late_hour}"
    assert set(reasons[2:]) == {f"{late_hour} was flattened anew"}
