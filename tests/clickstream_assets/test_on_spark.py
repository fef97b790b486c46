"""Tables that a Spark of this machine writes, in runs of Dagster: what they show, and how they end."""

import signal
import subprocess
import sys
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import dagster as dg
import psutil
import pyarrow.parquet as pq
import pytest

from clickstream_assets.definitions import build_definitions
from clickstream_assets.enriched.seal import FROM_RAW, LANDING_FILES
from clickstream_assets.flattened.flatten import ARRIVAL_HOURS
from clickstream_assets.jobs import FLATTEN, SETTLE
from clickstream_assets.partitions import hour_key, range_tags
from commands.environments import ensure_environment
from resources.lake import DirectoryLake, written_partition
from resources.look_ups import EnrichmentSources
from streaming.domain.layout import hour_of
from streaming.domain.tables import ENRICHED_EVENTS, FLATTENED_EVENTS
from streaming.settings import ROOT, Settings, load_settings
from tests.clickstream_assets.conftest import NOW, DeliveryTo
from tests.landing import delivery, land

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]  # the first time Spark is installed

# As a backfill makes hours from raw, and as sensors flatten them.
CONFIGURED = {
    SETTLE: {"enriched_events": {"config": {"from_raw": True}}},
    FLATTEN: {"flattened_events": {"config": {"only_pending": True}}},
}
HOUR = hour_of(NOW)
EVENTS = [delivery(NOW - timedelta(minutes=minute), f"click-{minute}", NOW, user_id="20") for minute in range(90)]


@pytest.fixture
def settings(platform: Settings, mysql_url: str, geo_folder: Path) -> Settings:
    ensure_environment("spark", print)
    engines = {"CLICKSTREAM_ENGINES": "flattened_events=spark,enriched_events=spark"}
    home = {"CLICKSTREAM_HOME": str(platform.home), "CLICKSTREAM_START": "2026-10-01"}
    return load_settings({**home, **engines, "MYSQL_URL": mysql_url, "GEOIP_DATABASE": str(geo_folder)})


@pytest.fixture
def on_spark(settings: Settings, delivered: DeliveryTo) -> dg.Definitions:
    return build_definitions(settings, {"delivery": delivered, "look_ups": EnrichmentSources(settings)})


def run(
    definitions: dg.Definitions, instance: dg.DagsterInstance, job: str, assets: list[str], first: str, last: str
) -> dg.ExecuteInProcessResult:
    return definitions.resolve_job_def(job).execute_in_process(
        instance=instance,
        asset_selection=[dg.AssetKey(asset) for asset in assets],
        run_config={"ops": CONFIGURED[job]},
        tags=range_tags(first, last),
        raise_on_error=False,
    )


def logged(result: dg.ExecuteInProcessResult, instance: dg.DagsterInstance) -> str:
    """All that the run's log says."""
    events = (entry for entry in instance.all_logs(result.run_id))
    return "\n".join(f"{entry.user_message} {_error(entry)}" for entry in events)


def _error(entry: dg.EventLogEntry) -> str:
    event = entry.dagster_event
    error = getattr(event.event_specific_data, "error", None) if event else None
    return error.to_string() if error else ""


def test_tables_are_written_by_spark_and_say_so(
    on_spark: dg.Definitions, lake: DirectoryLake, instance: dg.DagsterInstance
) -> None:
    land(lake, [*EVENTS, replace(EVENTS[0], event=b"{}", record_id="0" * 32)], "one")
    key, before, earlier, empty = (hour_key(HOUR - timedelta(hours=hours)) for hours in range(4))

    sealed = run(on_spark, instance, SETTLE, ["enriched_events", "failed_events", "event_ledger"], key, key)
    flattened = run(on_spark, instance, FLATTEN, ["flattened_events"], empty, key)

    assert (sealed.success, flattened.success) == (True, True)
    (told,) = sealed.asset_materializations_for_node("enriched_events")
    assert (told.partition, told.metadata["dagster/row_count"].value) == (key, 90)
    assert told.metadata["spark"].value.startswith("3.5.")
    rows = {event.partition: event.metadata for event in flattened.asset_materializations_for_node("flattened_events")}
    assert {hour: metadata["dagster/row_count"].value for hour, metadata in rows.items()} == {
        earlier: 24,
        before: 60,
        key: 6,
    }
    assert all(metadata["spark_seconds"].value > 0 for metadata in rows.values())
    assert "enrich on Spark 3.5." in logged(sealed, instance)
    assert "flatten on Spark 3.5." in logged(flattened, instance)
    says = pq.read_metadata(written_partition(lake, ENRICHED_EVENTS, HOUR)).metadata
    assert (says[FROM_RAW.encode()], says[LANDING_FILES.encode()]) == (b"true", b'["one.parquet"]')
    file = written_partition(lake, FLATTENED_EVENTS, HOUR)
    assert ARRIVAL_HOURS.encode() in pq.read_metadata(file).metadata
    assert set(pq.read_table(file, partitioning=None)["name"].to_pylist()) == {"Semyon Ryan"}
    assert not list(lake.root.glob(".scratch-*"))


def test_a_job_that_fails_fails_the_run_and_says_why(
    on_spark: dg.Definitions, lake: DirectoryLake, instance: dg.DagsterInstance
) -> None:
    land(lake, EVENTS, "one")
    key = hour_key(HOUR)
    lake.path(f"raw/{HOUR:year=%Y/month=%m/day=%d/hour=%H}/two.json.gz").write_bytes(b"no such line")

    result = run(on_spark, instance, SETTLE, ["enriched_events"], key, key)

    assert not result.success
    assert "JSON is malformed" in logged(result, instance)
    assert lake.partition(ENRICHED_EVENTS, HOUR) is None


def test_a_run_that_is_ended_ends_its_job(tmp_path: Path) -> None:
    ensure_environment("spark", print)
    command = [sys.executable, "-m", "tests.clickstream_assets.spark_process", str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        until = time.monotonic() + 120
        while not (tmp_path / "busy").exists() and time.monotonic() < until:
            time.sleep(0.1)
        assert any(child.name() == "java" for child in psutil.Process(process.pid).children(recursive=True))
        process.send_signal(signal.SIGINT)
        _, output = process.communicate(timeout=60)
    assert "execution interrupted, sending SIGINT" in output
    assert processes_in(tmp_path) == []


def processes_in(folder: Path) -> list[psutil.Process]:
    """Processes that run in a folder, or below it, and what they are."""
    found = psutil.process_iter(["cwd", "cmdline"])
    return [process for process in found if (process.info["cwd"] or "").startswith(str(folder))]
