"""Sensors and schedules ask for exactly what is not up to date, and for nothing once it is."""

import shutil
from datetime import timedelta

import dagster as dg
import pytest
from dagster._core.errors import DagsterAssetCheckFailedError

from clickstream_assets.aggregates.registry import AGGREGATES
from clickstream_assets.catch_up import CatchUp
from clickstream_assets.flattened.flatten import read_ledger
from clickstream_assets.partitions import hour_key, range_tags
from resources.lake import DirectoryLake, partition_file
from streaming.domain.layout import hour_of
from tests.clickstream_assets.conftest import NOW, DeliveryTo, caught_up
from tests.clickstream_assets.daemon import Daemon
from tests.landing import Delivery, delivery, land

HOUR = hour_of(NOW)
LONG_AFTER = NOW + timedelta(hours=5)
OLD = NOW - timedelta(days=40)


@pytest.fixture
def daemon(
    definitions: dg.Definitions, instance: dg.DagsterInstance, lake: DirectoryLake, delivered: DeliveryTo
) -> Daemon:
    return Daemon(definitions, instance, lake, delivered)


def test_arrivals_are_reported_once(daemon: Daemon, lake: DirectoryLake, instance: dg.DagsterInstance) -> None:
    land(lake, [delivery(NOW, "a", NOW)], "one")
    daemon.tick("report_arrivals")
    daemon.tick("report_arrivals")
    assert len(instance.fetch_materializations(dg.AssetKey("raw_events"), limit=10).records) == 1

    land(lake, [delivery(NOW, "b", NOW)], "two")
    daemon.tick("report_arrivals")
    (latest, _) = instance.fetch_materializations(dg.AssetKey("enriched_landing"), limit=10).records
    assert latest.asset_materialization.metadata["dagster/row_count"].value == 2
    assert (
        "Parquet"
        in instance.fetch_materializations(dg.AssetKey("raw_events"), limit=1)
        .records[0]
        .asset_materialization.metadata["storage"]
        .value
    )


def test_a_closed_hour_is_sealed_flattened_and_aggregated_by_schedules_and_sensors(
    daemon: Daemon, lake: DirectoryLake
) -> None:
    land(lake, [delivery(NOW, "a", NOW)], "one")
    assert daemon.tick("reopen_late_hours") == []
    assert daemon.fire("seal_closed_hours") == [(hour_key(HOUR), hour_key(HOUR))]
    assert daemon.tick("flatten_touched_hours") == [(hour_key(HOUR), hour_key(HOUR))]
    assert daemon.tick("aggregate_touched_days") == [("2026-11-20", "2026-11-20")]

    assert daemon.fire("seal_closed_hours") == []
    for sensor in ("reopen_late_hours", "flatten_touched_hours", "aggregate_touched_days"):
        assert daemon.tick(sensor) == []


def test_a_late_file_rebuilds_the_hour_and_the_day_of_its_event_alone(
    daemon: Daemon, catch_up: CatchUp, lake: DirectoryLake
) -> None:
    land(lake, [delivery(NOW - timedelta(hours=hour), f"click-{hour}", NOW) for hour in range(30)], "one")
    catch_up.run(lake, caught_up(LONG_AFTER))
    for sensor in ("reopen_late_hours", "flatten_touched_hours", "aggregate_touched_days"):
        assert daemon.tick(sensor) == []

    land(lake, [delivery(OLD, "late", NOW)], "two")

    assert daemon.tick("reopen_late_hours") == [(hour_key(HOUR), hour_key(HOUR))]
    assert daemon.tick("flatten_touched_hours") == [(hour_key(hour_of(OLD)),) * 2]
    assert daemon.tick("aggregate_touched_days")[0] == (f"{OLD:%Y-%m-%d}",) * 2
    assert daemon.tick("reopen_late_hours") == []


def test_an_hour_enriched_anew_is_balanced_flattened_and_aggregated_anew(
    daemon: Daemon, catch_up: CatchUp, lake: DirectoryLake, definitions: dg.Definitions, instance: dg.DagsterInstance
) -> None:
    land(lake, [delivery(NOW, "a", NOW)], "one")
    catch_up.run(lake, caught_up(LONG_AFTER))
    for sensor in ("reopen_late_hours", "flatten_touched_hours", "aggregate_touched_days"):
        assert daemon.tick(sensor) == []

    definitions.resolve_implicit_global_asset_job_def().execute_in_process(
        instance=instance,
        asset_selection=[dg.AssetKey("enriched_events")],
        tags={"dagster/backfill": "by-hand", **range_tags(hour_key(HOUR), hour_key(HOUR))},
    )

    assert daemon.tick("reopen_late_hours") == [(hour_key(HOUR), hour_key(HOUR))]
    assert len(instance.fetch_materializations(dg.AssetKey("enriched_events"), limit=10).records) == 2
    assert daemon.tick("flatten_touched_hours") == [(hour_key(HOUR), hour_key(HOUR))]
    assert daemon.tick("aggregate_touched_days") == [("2026-11-20", "2026-11-20")]
    assert daemon.tick("reopen_late_hours") == []


def test_late_events_of_scattered_hours_take_few_runs_that_pass_by_the_others(
    daemon: Daemon, catch_up: CatchUp, lake: DirectoryLake, instance: dg.DagsterInstance
) -> None:
    land(lake, [delivery(NOW - timedelta(hours=hour), f"click-{hour}", NOW) for hour in range(10)], "one")
    catch_up.run(lake, caught_up(LONG_AFTER))
    flattened = dg.AssetKey("flattened_events")
    before = instance.fetch_materializations(flattened, limit=100).records

    late = [HOUR - timedelta(hours=hours) for hours in (2, 4, 7, 30, 60, 200)]
    land(lake, [delivery(moment, f"late-{moment}", NOW) for moment in late], "two")

    daemon.tick("reopen_late_hours")
    assert daemon.tick("flatten_touched_hours") == [
        *((hour_key(late[old]),) * 2 for old in (5, 4, 3)),
        (hour_key(late[2]), hour_key(late[0])),
    ]
    records = instance.fetch_materializations(flattened, limit=100).records
    anew = {record.partition_key: record.asset_materialization for record in records[: len(records) - len(before)]}
    assert set(anew) == {hour_key(moment) for moment in late}
    assert anew[hour_key(late[0])].metadata["dagster/row_count"].value == 2
    assert daemon.tick("flatten_touched_hours") == []


def test_a_reseal_that_changes_no_row_triggers_nothing(
    daemon: Daemon, catch_up: CatchUp, lake: DirectoryLake, instance: dg.DagsterInstance
) -> None:
    flush = [delivery(NOW, "a", NOW), delivery(OLD, "b", NOW)]
    land(lake, flush, "one")
    catch_up.run(lake, caught_up(LONG_AFTER))
    daemon.tick("flatten_touched_hours")
    daemon.tick("aggregate_touched_days")

    land(lake, flush, "once more")

    assert daemon.tick("reopen_late_hours") == [(hour_key(HOUR), hour_key(HOUR))]
    assert len(instance.fetch_materializations(dg.AssetKey("event_ledger"), limit=10).records) == 2
    assert daemon.tick("flatten_touched_hours") == []
    assert daemon.tick("aggregate_touched_days") == []


def test_a_day_that_ended_while_the_daemon_was_down_is_made_up_for(
    daemon: Daemon, catch_up: CatchUp, lake: DirectoryLake
) -> None:
    land(lake, [delivery(OLD, "a", NOW), delivery(NOW, "b", NOW)], "one")
    catch_up.run(lake, caught_up(LONG_AFTER))
    for aggregate in AGGREGATES:
        lake.path(partition_file(aggregate.table, OLD.date())).unlink()

    assert daemon.fire("aggregate_due_days") == [(f"{OLD:%Y-%m-%d}",) * 2]
    assert daemon.fire("aggregate_due_days") == []


def test_an_hour_of_which_only_failures_are_left_is_red_and_asked_for_once(daemon: Daemon, lake: DirectoryLake) -> None:
    land(lake, [Delivery(b"no json", NOW, "f" * 32)], "one")
    shutil.rmtree(lake.path("raw"))

    with pytest.raises(DagsterAssetCheckFailedError):
        daemon.fire("seal_closed_hours")

    (balance,) = read_ledger([HOUR], lake)
    assert (balance.state, balance.unknown_records) == ("red", 1)
    assert daemon.fire("seal_closed_hours") == []


def test_an_open_hour_is_balanced_and_flattened_for_the_time_being(
    daemon: Daemon, lake: DirectoryLake, delivered: DeliveryTo
) -> None:
    delivered.moment = NOW
    land(lake, [delivery(NOW, "a", NOW)], "one")

    assert daemon.fire("seal_closed_hours") == []
    assert daemon.fire("balance_open_hours") == [(hour_key(HOUR), hour_key(HOUR))]
    assert daemon.tick("flatten_touched_hours") == [(hour_key(HOUR), hour_key(HOUR))]
    assert daemon.fire("aggregate_due_days") == [("2026-11-20", "2026-11-20")]
    assert daemon.fire("aggregate_due_days") == []
