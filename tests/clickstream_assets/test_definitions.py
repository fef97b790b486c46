"""The asset graph as Dagster runs it: ranges in one run, checks by partition, red ledgers that block, catching up."""

import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import dagster as dg
import pyarrow.parquet as pq

from clickstream_assets.catalog import CATALOGUED
from clickstream_assets.catch_up import CatchUp, accounted, row_counts
from clickstream_assets.jobs import AGGREGATE, BUILD_DASHBOARD, FLATTEN, REFRESH_CATALOG, REPORT, SETTLE
from clickstream_assets.partitions import hour_key, range_tags
from resources.lake import DirectoryLake, partition_file
from streaming.domain.layout import hour_of, hour_prefix
from streaming.domain.tables import ENRICHED_EVENTS
from streaming.settings import ROOT, Settings
from tests.clickstream_assets.conftest import NOW, DeliveryTo, caught_up
from tests.landing import Delivery, delivery, land

HOUR = hour_of(NOW)
LONG_AFTER = NOW + timedelta(hours=5)
BAD = Delivery(b'{"bad": 1}', NOW, "f" * 32)


def rows_of(instance: dg.DagsterInstance, asset: str) -> dict[str, object]:
    records = instance.fetch_materializations(dg.AssetKey(asset), limit=500).records
    latest = {record.partition_key: record.asset_materialization for record in reversed(records)}
    return {
        key: event.metadata["dagster/row_count"].value
        for key, event in latest.items()
        if event and key and "dagster/row_count" in event.metadata
    }


def run_statuses(instance: dg.DagsterInstance) -> list[tuple[str, dg.DagsterRunStatus]]:
    return [(run.job_name, run.status) for run in reversed(instance.get_runs())]


def test_catching_up_brings_every_table_up_to_date_in_a_run_for_each_layer(
    catch_up: CatchUp, lake: DirectoryLake, instance: dg.DagsterInstance, platform: Settings
) -> None:
    land(lake, [*(delivery(NOW - timedelta(minutes=15 * i), f"click-{i}", NOW) for i in range(40)), BAD], "one")

    catch_up.run(lake, caught_up(LONG_AFTER))

    tables = accounted(lake) | row_counts(platform.home / "catalog.duckdb")
    assert tables.pop("aggregates").items() >= {"events_by_type": 1, "events_by_hour": 11, "hourly_funnel": 0}.items()
    assert tables == {
        "raw": 41,
        "enriched": 40,
        "failed": 1,
        "flattened": 40,
        "balanced": True,
    }
    assert [job for job, status in run_statuses(instance) if status is dg.DagsterRunStatus.SUCCESS] == [
        SETTLE,
        FLATTEN,
        AGGREGATE,
        BUILD_DASHBOARD,
        REPORT,
        REFRESH_CATALOG,
    ]
    assert rows_of(instance, "enriched_landing") == {hour_key(HOUR): 40}
    assert rows_of(instance, "enriched_events") == {hour_key(HOUR): 40}
    assert sum(rows_of(instance, "flattened_events").values()) == 40
    assert rows_of(instance, "events_by_type") == {"2026-11-20": 1}


def test_catching_up_again_has_nothing_to_do(
    catch_up: CatchUp, lake: DirectoryLake, instance: dg.DagsterInstance
) -> None:
    land(lake, [delivery(NOW, "a", NOW)], "one")
    catch_up.run(lake, caught_up(LONG_AFTER))
    before = len(instance.get_runs())
    catch_up.run(lake, caught_up(LONG_AFTER))
    again = instance.get_runs()[: len(instance.get_runs()) - before]
    assert [run.job_name for run in again] == [REFRESH_CATALOG, REPORT]  # these follow more than the lake


def test_an_open_hour_is_flattened_for_the_time_being(
    catch_up: CatchUp, lake: DirectoryLake, platform: Settings, delivered: DeliveryTo
) -> None:
    delivered.moment = NOW + timedelta(minutes=1)
    land(lake, [delivery(NOW, "a", NOW)], "one")
    catch_up.run(lake, caught_up(delivered.moment))
    assert row_counts(platform.home / "catalog.duckdb")["flattened"] == 1

    land(lake, [delivery(NOW, "b", NOW)], "two")
    delivered.moment = LONG_AFTER
    catch_up.run(lake, caught_up(LONG_AFTER))

    assert row_counts(platform.home / "catalog.duckdb")["flattened"] == 2
    assert lake.partition(ENRICHED_EVENTS, HOUR)
    assert not catch_up.failed_runs


def test_a_red_ledger_fails_its_check_and_blocks_what_is_downstream(
    catch_up: CatchUp, lake: DirectoryLake, instance: dg.DagsterInstance, platform: Settings
) -> None:
    land(lake, [delivery(NOW, "a", NOW)], "one")
    land(lake, [delivery(NOW, "b", NOW + timedelta(hours=1))], "two")
    lake.path(f"{hour_prefix('raw', HOUR)}/one.json.gz").write_bytes(
        lake.path(f"{hour_prefix('raw', HOUR + timedelta(hours=1))}/two.json.gz").read_bytes()
    )  # what was enriched is unknown to raw

    catch_up.run(lake, caught_up(LONG_AFTER))

    assert run_statuses(instance)[0] == (SETTLE, dg.DagsterRunStatus.FAILURE)
    checks = instance.event_log_storage.get_asset_check_execution_history(
        dg.AssetCheckKey(dg.AssetKey("event_ledger"), "every_record_is_accounted_for"), limit=10
    )
    verdicts = {
        check.event.dagster_event.asset_check_evaluation_data.partition: check.status.value
        for check in checks
        if check.event and check.event.dagster_event
    }
    assert verdicts == {hour_key(HOUR): "FAILED", hour_key(HOUR + timedelta(hours=1)): "SUCCEEDED"}
    assert accounted(lake)["balanced"] is False


def test_a_backfill_enriches_a_range_of_hours_anew_in_one_run(
    definitions: dg.Definitions, catch_up: CatchUp, lake: DirectoryLake, instance: dg.DagsterInstance
) -> None:
    hours = [HOUR, HOUR + timedelta(hours=1), HOUR + timedelta(hours=2)]
    for hour in hours:
        land(lake, [delivery(hour, "a", hour)], "one")
    catch_up.run(lake, caught_up(LONG_AFTER))

    result = definitions.resolve_job_def(SETTLE).execute_in_process(
        instance=instance,
        tags={"dagster/backfill": "test", **range_tags(hour_key(hours[0]), hour_key(hours[-1]))},
    )

    assert result.success
    for hour in hours:
        rows = pq.read_table(lake.path(partition_file(ENRICHED_EVENTS, hour)), partitioning=None)
        assert rows["name"].to_pylist() == ["Ada Lovelace"]
    latest = instance.fetch_materializations(dg.AssetKey("enriched_events"), limit=3).records
    assert {record.run_id for record in latest} == {result.run_id}


def test_every_table_is_an_asset_with_documented_columns(definitions: dg.Definitions) -> None:
    specs = {spec.key.to_user_string(): spec for spec in definitions.resolve_all_asset_specs()}
    for table in CATALOGUED:
        spec = specs[table.name]
        schema = spec.metadata["dagster/column_schema"]
        assert [column.name for column in schema.columns] == list(table.column_names)
        assert all(column.description for column in schema.columns)
        assert spec.description
        assert spec.owners
        assert spec.kinds


def test_the_code_location_validates(tmp_path: Path) -> None:
    validated = subprocess.run(
        [sys.executable, "-m", "dagster", "definitions", "validate", "-w", "workspace.yaml"],
        env={"DAGSTER_HOME": str(tmp_path), "CLICKSTREAM_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert validated.returncode == 0, validated.stdout + validated.stderr


def test_settings_are_read_when_definitions_are_asked_for_not_at_import() -> None:
    code = (
        "import clickstream_assets.definitions as module\n"
        "from streaming.settings import SettingError\n"
        "try: module.build_definitions()\n"
        "except SettingError: print('asked')"
    )
    environment = {"CLICKSTREAM_START": "no day"}
    imported = subprocess.run([sys.executable, "-c", code], env=environment, cwd=ROOT, capture_output=True, check=True)
    assert imported.stdout == b"asked\n"
