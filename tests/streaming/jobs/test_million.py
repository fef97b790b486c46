"""The Spark jobs write what DuckDB and this process write, to the row and to the bit; twice, the same bytes."""

import os
import shutil
from datetime import datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clickstream_assets.enriched.on_spark import enrich_on_spark
from clickstream_assets.enriched.seal import enrich_anew
from clickstream_assets.flattened.flatten import EventHour, flatten, flatten_on_spark
from resources.lake import DirectoryLake, written_partition
from resources.look_ups import EnrichmentSources
from resources.spark import SETTINGS
from resources.warehouse import DuckDBWarehouse
from streaming.domain.tables import ENRICHED_EVENTS, ENRICHED_LANDING, FLATTENED_EVENTS, Table
from streaming.edges.parquet import arrow_schema
from streaming.settings import load_settings
from tests.streaming.jobs.million import (
    EVENTS,
    HOURS,
    assert_equal,
    by_hour_of_arrival,
    land_as_firehose,
    land_enriched,
    land_raw,
    on_spark,
    published,
    random_events,
    raw_lines,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]  # the first time Spark is installed

ARRIVAL_HOURS = [hour + timedelta(hours=len(HOURS)) for hour in HOURS]


@pytest.fixture(scope="module")
def warehouse(tmp_path_factory: pytest.TempPathFactory) -> DuckDBWarehouse:
    return DuckDBWarehouse(1_000_000_000, tmp_path_factory.mktemp("duckdb"))


@pytest.fixture(scope="module")
def events(warehouse: DuckDBWarehouse, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The events, in one file."""
    folder = tmp_path_factory.mktemp("events")
    random_events(warehouse, folder)
    return folder / "events.parquet"


def test_flattened(events: Path, warehouse: DuckDBWarehouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here, there = DirectoryLake(tmp_path / "here"), DirectoryLake(tmp_path / "there")
    arrivals = {}
    for hour, rows in by_hour_of_arrival(pq.read_table(events, partitioning=None)):
        land_enriched(here, hour, "one", rows.slice(0, rows.num_rows // 2))
        land_as_firehose(here, hour, "two", rows.slice(rows.num_rows // 2))
        arrivals[hour] = f"hash of {hour}"
    shutil.copytree(here.root, there.root, copy_function=os.link)
    event_hours = {hour: EventHour(arrivals) for hour in HOURS}

    rows = sum(flatten(hour, event_hour, here, warehouse) for hour, event_hour in event_hours.items())
    on_spark(lambda spark, run: flatten_on_spark(event_hours, there, run), tmp_path)

    assert EVENTS * 0.9 < rows < EVENTS * 1.01
    assert_equal_partitions(FLATTENED_EVENTS, HOURS, here, there)
    first = bytes_of(FLATTENED_EVENTS, HOURS[0], there)
    monkeypatch.setitem(SETTINGS, "spark.master", "local[1]")
    on_spark(lambda spark, run: flatten_on_spark({HOURS[0]: event_hours[HOURS[0]]}, there, run), tmp_path)
    assert bytes_of(FLATTENED_EVENTS, HOURS[0], there) == first


def test_enriched_anew(
    events: Path,
    warehouse: DuckDBWarehouse,
    mysql_url: str,
    geo_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    here, there = DirectoryLake(tmp_path / "here"), DirectoryLake(tmp_path / "there")
    for hour in ARRIVAL_HOURS:
        lines = raw_lines(warehouse, events, hour)
        for number in range(4):
            again = lines[: len(lines) // 20] if number == 3 else []  # delivered twice
            land_raw(here, hour, f"{number}", lines[number::4] + again)
        land_leftovers(here, hour, events)
    shutil.copytree(here.root, there.root, copy_function=os.link)
    settings = {"CLICKSTREAM_HOME": str(tmp_path), "MYSQL_URL": mysql_url, "GEOIP_DATABASE": str(geo_folder)}
    look_ups = EnrichmentSources(load_settings(settings))

    rows = sum(enrich_anew(hour, here, warehouse, look_ups.snapshot()) for hour in ARRIVAL_HOURS)

    def work(hours: list[datetime]) -> None:
        on_spark(lambda spark, run: enrich_on_spark(hours, there, warehouse, look_ups, spark, run), tmp_path)

    work(ARRIVAL_HOURS)
    assert rows > EVENTS * 0.9
    assert_equal_partitions(ENRICHED_EVENTS, ARRIVAL_HOURS, here, there)
    assert contents(here.path("failed")) == contents(there.path("failed"))
    assert contents(here.path("failed"))
    first = bytes_of(ENRICHED_EVENTS, ARRIVAL_HOURS[0], there)
    monkeypatch.setitem(SETTINGS, "spark.master", "local[1]")
    work(ARRIVAL_HOURS[:1])
    assert bytes_of(ENRICHED_EVENTS, ARRIVAL_HOURS[0], there) == first


def land_leftovers(lake: DirectoryLake, hour: datetime, events: Path) -> None:
    """Landing files of an hour: rows that raw has, and rows that it lacks, with other copies that are as good."""
    rows = pq.read_table(events, partitioning=None).cast(arrow_schema(ENRICHED_LANDING)).slice(0, 3_000)
    known = set_column(rows, "arrival_timestamp", [hour.replace(tzinfo=None)] * rows.num_rows)
    absent = set_column(known, "record_id", [f"{number:032x}" for number in range(rows.num_rows)])
    copies = set_column(absent, "enrichment_version", [f"2/geo/{number % 7}" for number in range(rows.num_rows)])
    land_enriched(lake, hour, "known", known)
    land_enriched(lake, hour, "absent", pa.concat_tables([absent, absent.slice(0, 1_000), copies.slice(500, 1_500)]))


def set_column(rows: pa.Table, name: str, values: list[object]) -> pa.Table:
    field = rows.schema.field(name)
    return rows.set_column(rows.schema.get_field_index(name), field, pa.array(values, field.type))


def assert_equal_partitions(table: Table, hours: list[datetime], here: DirectoryLake, there: DirectoryLake) -> None:
    """Rows, and what the files say of themselves."""
    for hour in hours:
        (expected, says), (found, says_too) = (published(lake, table, hour) for lake in (here, there))
        assert_equal(expected, found)
        assert says == says_too


def bytes_of(table: Table, hour: datetime, lake: DirectoryLake) -> bytes:
    return Path(written_partition(lake, table, hour)).read_bytes()


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
