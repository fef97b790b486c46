"""A million random events as lakes have them: duplicated, null, late and odd, for both engines."""

import gzip
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from commands.environments import ensure_environment
from resources.lake import DirectoryLake, Key
from resources.spark import JobReport, LocalSpark
from resources.warehouse import DuckDBWarehouse, Source
from streaming.domain.layout import hour_prefix
from streaming.domain.tables import ENRICHED_LANDING, Table
from streaming.edges.parquet import arrow_schema, parquet_bytes

EVENTS = 1_000_000
START = datetime(2026, 11, 20, 8, tzinfo=UTC)
HOURS = [START + timedelta(hours=hour) for hour in range(4)]
Run = Callable[[str, Any], dict[str, JobReport]]
_MICROSECONDS = 3_600_000_000


def random_events(warehouse: DuckDBWarehouse, folder: Path) -> pa.Table:
    """Enriched events and copies of some, all of HOURS by event time, arriving up to two days later."""
    file = folder / "events.parquet"
    folder.mkdir(parents=True, exist_ok=True)
    statement = (Path(__file__).parents[2] / "sql" / "random_events.sql").read_text()
    moved = (
        f"TIMESTAMP '{START:%Y-%m-%d %H:%M}' + to_microseconds(epoch_us(e.timestamp) % {len(HOURS) * _MICROSECONDS})"
    )
    late = "e.arrival_timestamp - e.timestamp"
    warehouse.save(
        f"SELECT e.* REPLACE ({moved} AS timestamp, {moved} + ({late}) AS arrival_timestamp) "
        f"FROM ({statement}) e ORDER BY record_id",
        [EVENTS],
        {},
        file,
        {},
    )
    return pq.read_table(file, partitioning=None).cast(arrow_schema(ENRICHED_LANDING))


def by_hour_of_arrival(events: pa.Table) -> Iterator[tuple[datetime, pa.Table]]:
    """The events of each hour of arrival."""
    hours = pc.floor_temporal(events["arrival_timestamp"], unit="hour")
    for hour in pc.unique(hours).to_pylist():
        yield hour.replace(tzinfo=UTC), events.filter(pc.equal(hours, hour))


def land_raw(lake: DirectoryLake, hour: datetime, name: str, lines: Sequence[bytes]) -> None:
    """Land lines of the raw copy."""
    lake.publish(f"{hour_prefix('raw', hour)}/{name}.json.gz", gzip.compress(b"".join(lines), 1, mtime=0))


def land_enriched(lake: DirectoryLake, hour: datetime, name: str, rows: pa.Table) -> None:
    """Land rows as delivery does."""
    lake.publish(f"{hour_prefix('enriched_landing', hour)}/{name}.parquet", parquet_bytes(rows))


def land_as_firehose(lake: DirectoryLake, hour: datetime, name: str, rows: pa.Table) -> None:
    """Land rows with timestamps as old writers of Parquet have them."""
    file = pa.BufferOutputStream()
    pq.write_table(rows, file, use_deprecated_int96_timestamps=True)
    lake.publish(f"{hour_prefix('enriched_landing', hour)}/{name}.parquet", file.getvalue().to_pybytes())


def published(lake: DirectoryLake, table: Table, key: Key) -> tuple[pa.Table, dict[bytes, bytes]]:
    """The rows of a partition, with their types, and what its file says of itself."""
    file = lake.partition(table, key)
    assert file is not None
    metadata = dict(pq.read_metadata(file).metadata)
    metadata.pop(b"ARROW:schema", None)
    return pq.read_table(file, partitioning=None), metadata


def assert_equal(expected: pa.Table, found: pa.Table) -> None:
    """Same columns, types and rows in the same order, floating point to the bit."""
    assert found.schema.equals(expected.schema, check_metadata=True)
    pairs = zip(expected.to_batches(10_000), found.to_batches(10_000), strict=False)
    differing = (rows for rows in pairs if rows[0] != rows[1]) if not found.equals(expected) else iter(())
    for left, right in islice(differing, 1):
        rows = zip(left.to_pylist(), right.to_pylist(), strict=False)
        raise AssertionError("\n".join(f"{one}\n{other}\n" for one, other in rows if one != other)[:4000])
    assert found.equals(expected)


def raw_lines(warehouse: DuckDBWarehouse, events: Path, hour: datetime) -> list[bytes]:
    """A share of the events as shops send them, as if they had arrived in an hour; some break the contract."""
    statement = (Path(__file__).with_name("raw_lines.sql")).read_text()
    bounds = [hour.replace(tzinfo=None), len(HOURS), hour.hour % len(HOURS)]
    found = warehouse.select(statement, bounds, {"events": Source(None, [events])})
    return [line.encode() + b"\n" for line in found["line"].to_pylist()]


def on_spark(work: Callable[[LocalSpark, Run], object], folder: Path) -> None:
    """Do work with a Spark of this machine, in a run of Dagster."""
    ensure_environment("spark", print)

    @dg.asset
    def partitions(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        spark = LocalSpark(folder)
        work(spark, partial(spark.run, context))
        return dg.MaterializeResult()

    assert dg.materialize([partitions]).success
