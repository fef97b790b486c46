"""Flattening a day with exact deduplication, against the same without any: CPU, time and memory.

The day is 24 sealed hours of arrival. One record in fifty is delivered twice, half of these copies in the next hour,
and every event hour is flattened from all the hours of arrival that hold its events, as the ledger would tell.
"""

import json
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import click
import duckdb
from rich.console import Console
from rich.table import Table

from clickstream_assets.enriched.seal import FROM_RAW, LANDING_FILES, enriched_files
from clickstream_assets.flattened.flatten import EventHour, flatten
from resources.lake import DirectoryLake, partition_file
from resources.warehouse import DuckDBWarehouse, Source, quoted
from streaming.domain.tables import ENRICHED_EVENTS, FLATTENED_EVENTS
from streaming.edges.lake import replaced
from streaming.settings import load_settings

DAY = datetime(2026, 11, 23, tzinfo=UTC)
HOURS = [DAY + timedelta(hours=hour) for hour in range(24)]
MOST_CPU_RATIO = 1.6
MOST_BYTES = 1_000_000_000

# i: the event; `copy` 1 for the second delivery of one in fifty. Same numbers, same bytes, in any process.
EVENTS = """
SELECT
  lower(format('{:016x}{:016x}', hash(i, 'r', copy), hash(i, 's', copy))) AS record_id,
  seen + to_microseconds(CAST(2000000 + copy * (hash(i, 'd') % 3600000000) AS BIGINT)) AS arrival_timestamp,
  seen AS "timestamp",
  CAST(hash(i, 'u') % 200000 AS VARCHAR) AS user_id,
  format('p{:09d}', hash(i, 'p') % 500) AS pixel_id,
  lower(format('{:016x}{:016x}', hash(i, 'c'), hash(i, 'k'))) AS click_id,
  seen + INTERVAL 1 SECOND AS insertion_timestamp,
  ['Search', 'ViewContent', 'AddToCart', 'Purchase'][CAST(1 + hash(i, 'n') % 4 AS INTEGER)] AS event_name,
  format('{}.{}.{}.{}', 1 + hash(i, 'a') % 200, hash(i, 'b') % 250, hash(i, 'e') % 250, 7) AS user_ip,
  {
    time_on_data: CAST(hash(i, 't') % 300 AS BIGINT), percent_viewed: (hash(i, 'v') % 1000) / 10.0::DOUBLE,
    product_id: CAST(hash(i, 'o') % 900000 AS BIGINT), price: CAST((hash(i, 'm') % 100000) / 100.0 AS DECIMAL(18,2))
  } AS additional_data,
  format('Customer {}', hash(i, 'u') % 200000) AS name,
  ['US', 'DE', 'NL', 'FR'][CAST(1 + hash(i, 'x') % 4 AS INTEGER)] AS country,
  format('Region {}', hash(i, 'y') % 50) AS region,
  format('City {}', hash(i, 'z') % 2000) AS city,
  (hash(i, 'z') % 2000) / 20.0::DOUBLE AS latitude,
  (hash(i, 'z') % 2000) / 10.0::DOUBLE AS longitude,
  CAST(NULL AS VARCHAR) AS missing_reasons,
  '1/bench/2026-11-23T00:00:00.000000Z' AS enrichment_version,
  CAST(NULL AS VARCHAR) AS extra
FROM (
  SELECT
    g.i, c.copy,
    CAST(? AS TIMESTAMP) + to_microseconds(CAST(hash(g.i, 'h') % 3590000000 AS BIGINT)) AS seen
  FROM range(?, ?) g(i), (VALUES (0), (1)) c(copy)
  WHERE c.copy = 0 OR g.i % 50 = 0
)
"""

_WITHOUT_DEDUPLICATION = """
SELECT
  e.timestamp AS event_timestamp, e.user_id, e.pixel_id, e.click_id, e.insertion_timestamp, e.event_name, e.user_ip,
  e.additional_data.time_on_data, e.additional_data.percent_viewed, e.additional_data.product_id,
  e.additional_data.price, e.name, e.country, e.region, e.city, e.latitude, e.longitude,
  e.missing_reasons, e.enrichment_version, e.extra, e.record_id, e.arrival_timestamp
FROM enriched_events e
WHERE e.timestamp >= CAST(? AS TIMESTAMP) AND e.timestamp < CAST(? AS TIMESTAMP)
ORDER BY event_timestamp ASC, click_id ASC
"""


class Measurement(NamedTuple):
    """What flattening the day took: CPU and wall seconds, peak bytes of the process, rows written."""

    cpu_seconds: float
    seconds: float
    peak_bytes: int
    rows: int


def generate(lake: DirectoryLake, events: int) -> None:
    """Write the day's sealed hours of arrival: each holds its own events, and the late copies of the hour before."""
    says = f"KV_METADATA {{{LANDING_FILES}: '[]', {FROM_RAW}: 'false'}}"
    with duckdb.connect(config={"memory_limit": f"{load_settings({}).memory_limit_bytes}B"}) as connection:
        for hour in [*HOURS, HOURS[-1] + timedelta(hours=1)]:
            union = " UNION ALL ".join(
                [f"SELECT * FROM ({EVENTS}) WHERE arrival_timestamp >= ? AND arrival_timestamp < ?"] * 2  # noqa: S608
            )
            parameters: list[Any] = []
            for source in (hour - timedelta(hours=1), hour):
                start = (source - DAY) // timedelta(hours=1) * (events // 24)
                end = start + events // 24 if source in HOURS else start
                parameters += [_naive(source), start, end, _naive(hour), _naive(hour + timedelta(hours=1))]
            with replaced(lake.path(partition_file(ENRICHED_EVENTS, hour))) as file:
                connection.execute(
                    f"COPY ({union} ORDER BY arrival_timestamp, record_id) TO {quoted(str(file))} "
                    f"(FORMAT parquet, COMPRESSION zstd, {says})",
                    parameters,
                )


def flatten_exactly(lake: DirectoryLake, warehouse: DuckDBWarehouse, hour: datetime) -> int:
    """As the asset does."""
    return flatten(hour, EventHour({hour: "", hour + timedelta(hours=1): ""}), lake, warehouse)


def flatten_without_deduplication(lake: DirectoryLake, warehouse: DuckDBWarehouse, hour: datetime) -> int:
    """The same files, columns, order and format; copies stay."""
    files = [file for arrival in (hour, hour + timedelta(hours=1)) for file in enriched_files(arrival, lake)]
    sources = {"enriched_events": Source(ENRICHED_EVENTS, files)}
    start = _naive(hour)
    with replaced(lake.path(partition_file(FLATTENED_EVENTS, hour))) as file:
        return warehouse.save(_WITHOUT_DEDUPLICATION, [start, start + timedelta(hours=1)], sources, file, {})


def measure(flatten_hour: Callable[[DirectoryLake, DuckDBWarehouse, datetime], int], root: Path) -> Measurement:
    """Flatten the day in a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_measure, (flatten_hour, root))


def _measure(flatten_hour: Callable[[DirectoryLake, DuckDBWarehouse, datetime], int], root: Path) -> Measurement:
    lake, warehouse = DirectoryLake(root), DuckDBWarehouse(load_settings({}).memory_limit_bytes, root / ".duckdb")
    wall, cpu = time.perf_counter(), time.process_time()
    rows = sum(flatten_hour(lake, warehouse, hour) for hour in HOURS)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return Measurement(time.process_time() - cpu, time.perf_counter() - wall, peak, rows)


@click.command()
@click.option("--events", default=10_000_000, show_default=True, help="Distinct events of the day.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def main(events: int, as_json: bool) -> None:
    """Flattening a day with exact deduplication, against the same without."""
    with tempfile.TemporaryDirectory(prefix="clickstream-bench-") as folder:
        root = Path(folder)
        generate(DirectoryLake(root), events)
        plain = measure(flatten_without_deduplication, root)
        exact = measure(flatten_exactly, root)
    ratio = exact.cpu_seconds / plain.cpu_seconds
    if as_json:
        click.echo(json.dumps({"exact": exact._asdict(), "plain": plain._asdict(), "cpu_ratio": ratio}))
    else:
        table = Table(f"flatten {events:,} events", "rows", "CPU s", "seconds", "peak MB", box=None)
        for name, result in (("without deduplication", plain), ("exact deduplication", exact)):
            table.add_row(
                name,
                f"{result.rows:,}",
                f"{result.cpu_seconds:.1f}",
                f"{result.seconds:.1f}",
                f"{result.peak_bytes / 1e6:.0f}",
            )
        Console().print(table)
        click.echo(f"CPU ratio {ratio:.2f} (at most {MOST_CPU_RATIO}), peak at most {MOST_BYTES / 1e6:.0f} MB")
    if exact.rows != events // 24 * 24:
        raise click.ClickException(f"{exact.rows:,} rows for {events:,} clicks")


def _naive(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(tzinfo=None)


if __name__ == "__main__":
    main()
