"""The batched event log keeps what Dagster's own keeps, whatever a run materialises, in fewer transactions."""

from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import pytest

from clickstream_assets.event_log import BatchedEventLogStorage
from clickstream_assets.partitions import SINGLE_RUN, hour_of_key, range_tags
from streaming.settings import ROOT

HOURS = dg.HourlyPartitionsDefinition(start_date="2026-01-01-00:00")


@dg.asset(
    partitions_def=HOURS,
    backfill_policy=SINGLE_RUN,
    check_specs=[dg.AssetCheckSpec("is_there", asset="hourly", blocking=True)],
)
def hourly(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult[None]]:
    for key in context.partition_keys:
        context.add_asset_metadata({"hour": hour_of_key(key).hour}, partition_key=key)
    yield dg.MaterializeResult(check_results=[dg.AssetCheckResult(passed=True)])


@pytest.fixture
def instance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    monkeypatch.setenv("DAGSTER_EVENT_BATCH_SIZE", "100")
    (tmp_path / "dagster.yaml").write_text((ROOT / "dagster.yaml").read_text())
    with dg.DagsterInstance.get() as instance:
        yield instance


@pytest.fixture
def materialise(instance: dg.DagsterInstance) -> Callable[[str, str], dg.ExecuteInProcessResult]:
    quiet = {"loggers": {"console": {"config": {"log_level": "WARNING"}}}}
    return lambda first, last: dg.materialize(
        [hourly], instance=instance, tags=range_tags(first, last), run_config=quiet
    )


def test_a_range_is_known_partition_by_partition(
    instance: dg.DagsterInstance, materialise: Callable[[str, str], dg.ExecuteInProcessResult], tmp_path: Path
) -> None:
    assert isinstance(instance.event_log_storage, BatchedEventLogStorage)
    keys = HOURS.get_partition_keys()[:250]
    result = materialise(keys[0], keys[-1])
    assert instance.get_materialized_partitions(hourly.key) == set(keys)
    records = instance.fetch_materializations(dg.AssetRecordsFilter(hourly.key), limit=1000, ascending=True).records
    assert [record.partition_key for record in records] == keys
    assert [record.asset_materialization.metadata["hour"].value for record in records[-3:]] == [7, 8, 9]
    latest = instance.get_latest_materialization_event(hourly.key)
    assert latest is not None
    assert latest.run_id == result.run_id
    logged = instance.all_logs(result.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED)
    assert sorted(event.dagster_event.partition for event in logged) == keys
    assert (tmp_path / "history" / "runs" / f"{result.run_id}.db").exists()
    evaluations = instance.event_log_storage.get_asset_check_execution_history(
        dg.AssetCheckKey(hourly.key, "is_there"), limit=5
    )
    assert "SUCCEEDED" in [evaluation.status.value for evaluation in evaluations]


def test_data_versions_are_found_by_partition(
    instance: dg.DagsterInstance, materialise: Callable[[str, str], dg.ExecuteInProcessResult]
) -> None:
    first, last = "2026-01-03-00:00", "2026-01-03-09:00"
    materialise(first, last)
    tags = instance.event_log_storage.get_latest_tags_by_partition(
        hourly.key, dg.DagsterEventType.ASSET_MATERIALIZATION, ["dagster/data_version"], asset_partitions=[first, last]
    )
    assert set(tags) == {first, last}


def test_a_year_of_hours_takes_seconds(materialise: Callable[[str, str], dg.ExecuteInProcessResult]) -> None:
    keys = HOURS.get_partition_keys()[:4_000]
    assert materialise(keys[0], keys[-1]).success
