"""`./run verify`: the platform's promises, checked over the tables by identity."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import click
import duckdb
from rich.console import Console
from rich.table import Table

from clickstream_assets.aggregates.registry import AGGREGATES, EVENTS
from clickstream_assets.catalog import CATALOGUED
from resources.catalog import DuckDBCatalog
from resources.lake import Lake
from resources.warehouse import duckdb_limits, sql_file
from streaming.settings import load_settings, make_home

# Statements under sql/verify, which must find nothing, and the promise that each holds the tables to.
ARRIVED = "records_not_arrived"
PROMISES = {
    ARRIVED: "every record that was acknowledged is in raw",
    "records_lost": "every record of raw is in enriched or failed",
    "records_unknown": "enriched and failed hold records of raw only",
    "hours_not_in_ledger": "the ledger has every hour of raw",
    "hours_miscounted": "the ledger balances, and counts what the tables hold",
    "clicks_repeated": "a click stands once in an hour of event time",
    "clicks_not_flattened": "every click of enriched is flattened",
    "clicks_unknown": "flattened holds clicks of enriched only",
    "days_off": "additive aggregates sum to what is flattened",
}
ADDITIVE = tuple(aggregate.name for aggregate in AGGREGATES if EVENTS in aggregate.measures)
EXAMPLES = 5


class Verdict(NamedTuple):
    """One promise: how many rows break it, and the first of them."""

    promise: str
    broken: int
    examples: list[dict[str, Any]]


@click.command()
@click.option("--open", "with_open", is_flag=True, help="Judge hours still open too: nothing may be on its way.")
@click.option(
    "--acknowledged", type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="File of record_ids, one a line, that the collector has acknowledged.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def verify(with_open: bool, acknowledged: Path | None, as_json: bool) -> None:
    """Check, over the tables and by identity, that nothing was lost, doubled or made up; status 1 if anything was.

    Judges the hours that are closed, as they are materialized: ./run materialize brings them up to date.
    """
    settings = load_settings()
    make_home(settings.home)
    catalog = DuckDBCatalog(settings.home / "catalog.duckdb", Lake(settings.lake))
    catalog.refresh(CATALOGUED)
    limits = duckdb_limits(settings.memory_limit_bytes, settings.home / "duckdb")
    with duckdb.connect(catalog.file, read_only=True, config=limits) as connection:
        connection.execute("SET enable_progress_bar = false")
        verdicts = list(check_promises(connection, with_open, acknowledged))
    if as_json:
        click.echo(json.dumps({verdict.promise: verdict._asdict() for verdict in verdicts}, default=str))
    else:
        _show(verdicts)
    if any(verdict.broken for verdict in verdicts):
        sys.exit(1)


def check_promises(
    connection: duckdb.DuckDBPyConnection, with_open: bool, acknowledged: Path | None
) -> Iterator[Verdict]:
    """Hold the tables of a catalog to every promise."""
    counted = " UNION ALL ".join(f"SELECT '{name}' AS aggregate, date, events FROM {name}" for name in ADDITIVE)  # noqa: S608  declared names
    connection.execute(f"CREATE TEMP VIEW additive_aggregates AS {counted}")
    for promise in PROMISES:
        statement = sql_file(f"verify/{promise}")
        parameters: list[Any] = [with_open] * statement.count("CAST(? AS BOOLEAN)")
        if promise == ARRIVED:
            if acknowledged is None:
                continue
            parameters = [str(acknowledged)]
        found = connection.execute(statement, parameters).to_arrow_table()
        yield Verdict(promise, found.num_rows, found.slice(0, EXAMPLES).to_pylist())


def _show(verdicts: list[Verdict]) -> None:
    console = Console()
    table = Table("promise", "broken", "examples")
    for verdict in verdicts:
        examples = "\n".join(", ".join(str(value) for value in row.values()) for row in verdict.examples)
        table.add_row(PROMISES[verdict.promise], str(verdict.broken), examples)
    console.print(table)
