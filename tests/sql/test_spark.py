"""DuckDB and Spark give the same answers, to the row and to the bit, on a million random events."""

import json
from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from clickstream_assets.aggregates.dependence import FlattenedDays
from clickstream_assets.aggregates.registry import AGGREGATES
from clickstream_assets.aggregates.unload import bounds, sources_of
from clickstream_assets.flattened.flatten import ORDER
from resources.lake import DirectoryLake, partition_file
from resources.warehouse import DuckDBWarehouse, Source, Sources, sql_file
from streaming.domain.tables import CUSTOMER_PRICES, ENRICHED_EVENTS, FLATTENED_EVENTS, Column, Table
from streaming.edges.parquet import arrow_schema
from tests.spark import run_spark

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]  # the first time Spark is installed

EVENTS = 1_000_000
FIRST, LAST = datetime(2026, 10, 14), datetime(2026, 11, 25)  # noqa: DTZ001  as the warehouse has them
DAYS = (date(2026, 11, 20), date(2026, 11, 23))  # one amid most events; a Monday, after a week of few
SPARK_SECONDS = 600.0
REPEATED_CLICKS = Table(
    "repeated_clicks",
    "",
    "parquet",
    None,
    "",
    (Column("event_hour", "TIMESTAMP", ""), Column("repeated", "BIGINT", "")),
)


class Query(NamedTuple):
    """A statement of a file, what it reads, and the table that it answers with."""

    statement: str
    parameters: list[datetime]
    sources: Sources
    answer: Table


class Answers(NamedTuple):
    """What both engines say to each query, by its name."""

    duckdb: Mapping[str, pa.Table]
    spark: Mapping[str, pa.Table]


NAMES = [
    "flattened_events",
    "repeated_clicks",
    *(f"{aggregate.name} {day}" for aggregate in AGGREGATES for day in DAYS),
]


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> Answers:
    """Every file asked of DuckDB, then of one session of Spark's."""
    scratch = tmp_path_factory.mktemp("spark")
    lake, warehouse = DirectoryLake(scratch / "lake"), DuckDBWarehouse(1_000_000_000, scratch / ".duckdb")
    queries = write_lake(lake, warehouse)
    return Answers({name: ask(warehouse, query) for name, query in queries.items()}, ask_spark(queries, lake, scratch))


@pytest.mark.parametrize("name", NAMES)
def test_spark_agrees_with_duckdb(answers: Answers, name: str) -> None:
    expected, found = bits(answers.duckdb[name]), bits(answers.spark[name])
    assert expected.num_rows
    assert found.equals(expected), differences(expected, found)


def write_lake(lake: DirectoryLake, warehouse: DuckDBWarehouse) -> dict[str, Query]:
    """Write what the statements read; returns them by name."""
    enriched, repeated = lake.path("random/enriched.parquet"), lake.path("random/repeated.parquet")
    enriched.parent.mkdir(parents=True)
    warehouse.save(Path(__file__).with_name("random_events.sql").read_text(), [EVENTS], {}, enriched, {})
    flatten = Query(
        f"{sql_file('flatten/flattened_events')} ORDER BY {', '.join(ORDER)}",
        [FIRST, LAST],
        {"enriched_events": Source(ENRICHED_EVENTS, [enriched])},
        FLATTENED_EVENTS,
    )
    events = ask(warehouse, flatten)
    hours = pc.floor_temporal(events["event_timestamp"], unit="hour")
    for hour in pc.unique(hours).to_pylist():
        write(
            lake.path(partition_file(FLATTENED_EVENTS, hour.replace(tzinfo=UTC))), events.filter(pc.equal(hours, hour))
        )
    write(repeated, pa.concat_tables([events, events.slice(100_000, 1000)]))
    for day in DAYS:
        write(lake.path(partition_file(CUSTOMER_PRICES, day)), customer_prices())

    repeats = Query(
        sql_file("flatten/repeated_clicks"), [], {"flattened_events": Source(None, [repeated])}, REPEATED_CLICKS
    )
    flattened = FlattenedDays(lake)
    aggregates = {
        f"{aggregate.name} {day}": Query(
            sql_file(aggregate.statement), bounds(day), sources_of(aggregate, day, flattened, lake), aggregate.table
        )
        for aggregate in AGGREGATES
        for day in DAYS
    }
    return {"flattened_events": flatten, "repeated_clicks": repeats, **aggregates}


def customer_prices() -> pa.Table:
    """Prices of most users who are a plain number, some null, some for customers who never acted."""
    customers = range(0, 30_000, 2)
    prices = [None if customer % 100 == 8 else Decimal(customer) / 10_000 for customer in customers]
    return pa.table([customers, prices], arrow_schema(CUSTOMER_PRICES))


def write(file: Path, table: pa.Table) -> None:
    """Write a Parquet file as the lake has them."""
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, file, compression="zstd")


def ask(warehouse: DuckDBWarehouse, query: Query) -> pa.Table:
    """What DuckDB answers, in the columns that the answer's table declares."""
    return warehouse.select(query.statement, query.parameters, query.sources).cast(arrow_schema(query.answer))


def ask_spark(queries: Mapping[str, Query], lake: DirectoryLake, scratch: Path) -> dict[str, pa.Table]:
    """What one session of Spark's answers to all of them."""
    told = scratch / "queries.json"
    folders = {name: scratch / "answers" / name.replace(" ", "-") for name in queries}
    told.write_text(json.dumps([_told(query, folders[name]) for name, query in queries.items()]))
    run_spark(Path(__file__).with_name("spark_job.py"), [str(lake.path("")), str(told)], scratch, SPARK_SECONDS)
    return {name: _answer(folders[name], query.answer) for name, query in queries.items()}


def _told(query: Query, folder: Path) -> dict[str, Any]:
    return {
        "statement": query.statement,
        "parameters": [moment.isoformat(" ") for moment in query.parameters],
        "sources": {name: [str(file) for file in source.files] for name, source in query.sources.items()},
        "answer": str(folder),
    }


def _answer(folder: Path, table: Table) -> pa.Table:
    """The rows in their order, which that of the files' names is."""
    files = sorted(folder.glob("part-*.parquet"))
    return pa.concat_tables(pq.read_table(file) for file in files).cast(arrow_schema(table))


def bits(table: pa.Table) -> pa.Table:
    """The table with floating point as its 64 bits, which tell all such numbers apart."""
    columns = [column.combine_chunks() for column in table.columns]
    return pa.table(
        [column.view(pa.int64()) if pa.types.is_float64(column.type) else column for column in columns],
        table.column_names,
    )


def differences(expected: pa.Table, found: pa.Table) -> str:
    """How many rows there are, and the first that differ."""
    pairs = zip(expected.to_pylist(), found.to_pylist(), strict=False)
    first = list(islice((f"{left}\n{right}" for left, right in pairs if left != right), 5))
    return "\n\n".join([f"{expected.num_rows} rows of DuckDB, {found.num_rows} of Spark", *first])
