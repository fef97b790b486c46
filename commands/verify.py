"""`./run verify`: the platform's promises, checked over the tables by identity."""

import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, NamedTuple

import click
import duckdb
from rich.console import Console
from rich.table import Table

from clickstream_assets import pending
from clickstream_assets.aggregates.registry import AGGREGATES
from clickstream_assets.catalog import CATALOGUED, ROLLED_UP
from clickstream_assets.definitions import opened_edges
from commands.platform import table_settings
from resources.catalog import DuckDBCatalog
from resources.lake import DirectoryLake, Lake
from resources.warehouse import connect, duckdb_limits, quoted, sql_file
from streaming.domain.layout import hour_prefix
from streaming.domain.tables import LANDING
from streaming.runtime.health.ledger import SETTLED_WITHIN
from streaming.settings import SettingError, make_home

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
    "days_off": "each aggregate keeps its invariants to what is flattened",
}
EXAMPLES = 5


class Behind(NamedTuple):
    """What is not up to date, as is usual where events arrive: hours of arrival that something came to lately and that
    are not sealed or balanced with it, hours of flattened_events, days of aggregates."""

    arrival_hours: list[datetime]
    event_hours: list[datetime]
    days: list[date]


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

    Judges the hours that are closed and the tables that are up to date, and says what is not: ./run materialize
    brings it up to date. An hour whose files changed is given two hours to be settled, and judged after that as it is:
    a file that is removed may show only then.
    """
    settings = table_settings()
    if settings.deployment == "local" and not settings.lake.is_dir():
        raise SettingError(
            f"there is no lake at {settings.lake}; CLICKSTREAM_HOME or CLICKSTREAM_LAKE says where it is"
        )
    make_home(settings.home)
    limits = duckdb_limits(settings.memory_limit_bytes, settings.home / "duckdb")
    with ExitStack() as opened:
        lake: Lake = opened.enter_context(opened_edges(settings, "lake")).lake.snapshot()
        behind = Behind([], [], []) if with_open else _behind(lake)
        scratch, tables = opened.enter_context(lake.scratch()), opened.enter_context(_fetched(lake))
        # Beside the catalog lies what crawls found, which tells how odd files are to be read.
        folder = settings.home if tables is lake else scratch
        catalog = DuckDBCatalog(folder / "catalog.duckdb", tables)
        catalog.refresh(CATALOGUED, ROLLED_UP)
        with connect(catalog.file, read_only=True, config=limits) as connection:
            verdicts = list(check_promises(connection, behind, with_open, acknowledged))
    if any(behind):
        arrivals, hours, days = len(behind.arrival_hours), len(behind.event_hours), len(behind.days)
        click.echo(
            f"not judged: {arrivals} hours of arrival, whose files changed lately and which are not settled since; "
            f"{hours} hours and {days} days of event time that ./run materialize is to do", err=True,
        )  # fmt: skip
    if as_json:
        promises = {verdict.promise: verdict._asdict() for verdict in verdicts}
        click.echo(json.dumps({"promises": promises, "not_judged": behind._asdict()}, default=str))
    else:
        _show(verdicts)
    if any(verdict.broken for verdict in verdicts):
        sys.exit(1)


def _behind(lake: Lake) -> Behind:
    unsettled = pending.unsettled_hours(lake, datetime.now(UTC) - SETTLED_WITHIN)
    return Behind(unsettled, pending.event_hours(lake), list(pending.days(lake)))


@contextmanager
def _fetched(lake: Lake) -> Iterator[DirectoryLake]:
    """All tables in a directory of this machine, which must have room for them where the lake is elsewhere."""
    published = [table for table in CATALOGUED if table not in LANDING]
    with lake.mirrored(published) as tables:
        if tables is not lake:
            for table in LANDING:
                for hour in lake.landed_hours(table.prefix):
                    for file in lake.list_hour(table.prefix, hour):
                        tables.publish(f"{hour_prefix(table.prefix, hour)}/{file.name}", Path(file).read_bytes())
        yield tables


def check_promises(
    connection: duckdb.DuckDBPyConnection, behind: Behind, with_open: bool, acknowledged: Path | None
) -> Iterator[Verdict]:
    """Hold the tables of a catalog to every promise, except where they are behind."""
    arrivals = [hour.replace(tzinfo=None) for hour in behind.arrival_hours]
    hours = [hour.replace(tzinfo=None) for hour in behind.event_hours]
    connection.execute("CREATE TEMP TABLE arrivals_behind AS SELECT UNNEST(?::TIMESTAMP[]) AS arrival_hour", [arrivals])
    connection.execute("CREATE TEMP TABLE hours_behind AS SELECT UNNEST(?::TIMESTAMP[]) AS event_hour", [hours])
    connection.execute("CREATE TEMP TABLE days_behind AS SELECT UNNEST(?::DATE[]) AS date", [behind.days])
    _measure_aggregates(connection)
    for promise in PROMISES:
        statement = sql_file(f"verify/{promise}")
        parameters: list[Any] = [with_open] * statement.count("CAST(? AS BOOLEAN)")
        if promise == ARRIVED:
            if acknowledged is None:
                continue
            parameters = [str(acknowledged)]
        found = connection.execute(statement, parameters).to_arrow_table()
        yield Verdict(promise, found.num_rows, found.slice(0, EXAMPLES).to_pylist())


def _measure_aggregates(connection: duckdb.DuckDBPyConnection) -> None:
    """`invariants` of all aggregates, and for each what is `measured` of every period, known by the day it begins."""
    connection.execute(
        "CREATE TEMP MACRO begin_of(period, date) AS CASE period WHEN 'day' THEN date "
        "WHEN 'week' THEN CAST(DATE_TRUNC('week', date) AS DATE) ELSE DATE '1970-01-01' END"
    )
    declared = [(aggregate.name, invariant) for aggregate in AGGREGATES for invariant in aggregate.invariants]
    columns = "aggregate VARCHAR, measured VARCHAR, relation VARCHAR, counted VARCHAR, period VARCHAR"
    connection.execute(f"CREATE TEMP TABLE invariants ({columns})")
    connection.executemany("INSERT INTO invariants VALUES (?, ?, ?, ?, ?)", [[name, *each] for name, each in declared])
    measured = " UNION ALL ".join(
        f"SELECT '{name}' AS aggregate, {quoted(each.measured)} AS measured, "  # noqa: S608  declared names
        f"begin_of('{each.period}', date) AS begin, {each.measured} AS value FROM {name} GROUP BY 3"
        for name, each in declared
    )
    connection.execute(f"CREATE TEMP VIEW measured AS {measured}")


def _show(verdicts: list[Verdict]) -> None:
    console = Console()
    table = Table("promise", "broken", "examples")
    for verdict in verdicts:
        examples = "\n".join(", ".join(str(value) for value in row.values()) for row in verdict.examples)
        table.add_row(PROMISES[verdict.promise], str(verdict.broken), examples)
    console.print(table)
