"""All aggregates of a day: as the assets unload them, against plain pandas, and alone from 1 to 50 million events.

The day is what is flattened of 24 hours, in visits of eight events. Each contender has a process of its own; its peak
is told with all that it imports, and beyond what its imports take.
"""

import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table as Listing

from bench._own_process import Measurement, as_json_of, measure
from clickstream_assets.aggregates.dependence import FlattenedDays
from clickstream_assets.aggregates.registry import AGGREGATES, Aggregate
from clickstream_assets.aggregates.unload import unload
from resources.lake import DirectoryLake, partition_file
from resources.warehouse import DuckDBWarehouse, connect, quoted
from streaming.domain.tables import CUSTOMER_PRICES, FLATTENED_EVENTS
from streaming.edges.lake import replaced
from streaming.settings import load_settings

OURS, PANDAS = "assets", "pandas"
DAY = datetime(2026, 11, 23, tzinfo=UTC)
HOURS = 24
EVENTS_A_USER = 16
PRICES = partition_file(CUSTOMER_PRICES, DAY.date())
# What means and ratios of floating point may be off by: ours are cut to millionths of a degree.
ROUNDING = 0.000002

# An hour's events: visits of eight that begin in its first forty minutes. v: the visit, k: its event, u: the user,
# c: the user's city. Only the columns that aggregates read. Same numbers, same rows, in any process.
_EVENTS = """
SELECT
  CAST(? AS TIMESTAMP) + to_microseconds(CAST(hash(v, 'b') % 2400000000 + k * 120000000 + hash(i, 'g') % 60000000
    AS BIGINT)) AS event_timestamp,
  CAST(u AS VARCHAR) AS user_id,
  format('p{:09d}', hash(u, 'p') % 500) AS pixel_id,
  lower(format('{:016x}{:016x}', hash(i, 'c'), i)) AS click_id,
  ['Search', 'ViewContent', 'ViewContent', 'ViewContent', 'AddToCart', 'AddToCart', 'Purchase', 'Search'][
    CAST(1 + (k + hash(i, 'n') % 3) % 8 AS INTEGER)
  ] AS event_name,
  CAST(hash(i, 't') % 300 AS BIGINT) AS time_on_data,
  (hash(i, 'd') % 1001) / 10.0::DOUBLE AS percent_viewed,
  CAST(floor(pow((hash(i, 'o') % 1000000) / 1e6, 3) * 20000) AS BIGINT) AS product_id,
  CAST((hash(i, 'm') % 100000) / 100.0 AS DECIMAL(18,2)) AS price,
  format('Customer {}', u) AS name,
  CASE WHEN u % 50 > 0 THEN ['US', 'DE', 'NL', 'FR'][CAST(1 + c % 4 AS INTEGER)] END AS country,
  CASE WHEN u % 50 > 0 THEN format('Region {}', c % 200) END AS region,
  CASE WHEN u % 50 > 0 THEN format('City {}', c) END AS city,
  CASE WHEN u % 50 > 0 THEN c / 80.0::DOUBLE END AS latitude,
  CASE WHEN u % 50 > 0 THEN c / 40.0::DOUBLE END AS longitude
FROM (
  SELECT v.i, v.v, v.k, v.u, hash(v.u, 'z') % 4000 AS c
  FROM (SELECT g.i, g.i // 8 AS v, g.i % 8 AS k, hash(g.i // 8, 'u') % ? AS u FROM range(?, ?) g(i)) v
)
ORDER BY event_timestamp, click_id
"""
_PRICES = "SELECT 2 * r.i AS customer_id, CAST(r.i % 7 / 10 AS DECIMAL(10,4)) AS price_per_click FROM range(?) r(i)"


def generate(root: Path, events: int) -> None:
    """Write the day's flattened hours, and the prices of every second user."""
    lake, an_hour, users = DirectoryLake(root), events // HOURS, events // EVENTS_A_USER
    with connect(config={"memory_limit": "2GB", "temp_directory": str(root / ".duckdb")}) as connection:
        for number in range(HOURS):
            hour, first = DAY + timedelta(hours=number), number * an_hour
            with replaced(lake.path(partition_file(FLATTENED_EVENTS, hour))) as file:
                connection.execute(
                    f"COPY ({_EVENTS}) TO {quoted(str(file))} (FORMAT parquet, COMPRESSION zstd)",
                    [hour.replace(tzinfo=None), users, first, first + an_hour],
                )
        with replaced(lake.path(PRICES)) as file:
            connection.execute(f"COPY ({_PRICES}) TO {quoted(str(file))}", [users // 2])


def unload_all(root: Path) -> None:
    """As the assets do."""
    lake, warehouse = DirectoryLake(root), DuckDBWarehouse(load_settings({}).memory_limit_bytes, root / ".duckdb")
    flattened = FlattenedDays(lake)
    for aggregate in AGGREGATES:
        unload(aggregate, DAY.date(), flattened, lake, warehouse)


def measure_day(events: int, plain: bool) -> dict[str, Measurement]:
    """What each contender takes for a day of so many events.

    Raises:
        click.ClickException: they do not give the same rows.
    """
    with tempfile.TemporaryDirectory(prefix="clickstream-bench-") as folder:
        root, tables = Path(folder), Path(folder, "pandas")
        measure("bench.aggregates:generate", root, events)
        taken = {OURS: measure("bench.aggregates:unload_all", root)}
        if plain:
            tables.mkdir()
            files = sorted(root.glob("flattened/**/*.parquet"))
            midnight = DAY.replace(tzinfo=None)
            taken[PANDAS] = measure(
                "bench._plain_aggregates:unload_with_pandas", files, root / PRICES, midnight, tables
            )
            for aggregate in AGGREGATES:
                ours = DirectoryLake(root).path(partition_file(aggregate.table, DAY.date()))
                _check(aggregate, ours, tables / f"{aggregate.name}.csv")
    return taken


def _check(aggregate: Aggregate, ours: Path, plain: Path) -> None:
    if not plain.exists():
        raise click.ClickException(f"bench/_plain_aggregates.py has no pandas version of {aggregate.name}; add one")
    types = {column.name: column.type for column in aggregate.table.columns}
    keys = ", ".join(column.name for column in aggregate.keys) or "1"
    same = " AND ".join(
        f"(o.{name} IS NOT DISTINCT FROM p.{name} OR ABS(o.{name} - p.{name}) < {ROUNDING})"
        if sql_type == "DOUBLE"
        else f"o.{name} IS NOT DISTINCT FROM p.{name}"
        for name, sql_type in types.items()
    )
    with connect() as connection:
        for name, file in (("ours", ours), ("plain", plain)):
            connection.read_csv(str(file), delimiter="|", header=True, dtype=types).order(keys).to_table(name)
        counts = [len(connection.table(name)) for name in ("ours", "plain")]
        differing = connection.execute(f"SELECT COUNT(*) FROM ours o POSITIONAL JOIN plain p WHERE NOT ({same})")  # noqa: S608
        ((differences,),) = differing.fetchall()
    if differences or len(set(counts)) > 1:
        raise click.ClickException(f"{aggregate.name}: {counts[0]:,} and {counts[1]:,} rows, {differences:,} differ")


@click.command()
@click.option(
    "--events", multiple=True, default=(1_000_000, 5_000_000, 10_000_000, 50_000_000), show_default=True,
    help="Events of the day.",
)  # fmt: skip
@click.option("--most-plain-events", default=5_000_000, show_default=True, help="No pandas where there are more.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def main(events: tuple[int, ...], most_plain_events: int, as_json: bool) -> None:
    """All aggregates of a day, against plain pandas."""
    taken = {count: measure_day(count, plain=count <= most_plain_events) for count in events}
    if as_json:
        click.echo(as_json_of(taken))
        return
    for count, contenders in taken.items():
        table = Listing(
            f"{count:,} events", "seconds", "CPU s", "CPU s per million", "peak MB", "over imports", box=None
        )
        for name, each in contenders.items():
            table.add_row(
                name, f"{each.seconds:.1f}", f"{each.cpu_seconds:.1f}", f"{each.cpu_seconds * 1e6 / count:.2f}",
                f"{each.peak_bytes / 1e6:.0f}", f"{(each.peak_bytes - each.idle_bytes) / 1e6:.0f}",
            )  # fmt: skip
        Console().print(table)
        if len(contenders) > 1:
            click.echo(_ratios(contenders[OURS], contenders[PANDAS]))


def _ratios(ours: Measurement, pandas: Measurement) -> str:
    over = (pandas.peak_bytes - pandas.idle_bytes) / (ours.peak_bytes - ours.idle_bytes)
    return (
        f"pandas takes {pandas.cpu_seconds / ours.cpu_seconds:.1f} times the CPU, "
        f"{pandas.seconds / ours.seconds:.1f} times the time, "
        f"{pandas.peak_bytes / ours.peak_bytes:.1f} times the memory, {over:.1f} times over imports"
    )


if __name__ == "__main__":
    main()
