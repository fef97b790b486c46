"""What the dashboard's page holds of the tables: additive sums by day, each table within declared limits.

A page must stay small whatever the tables hold. So a table with many keys gives its first ones, and the rest as one,
and where that is still too much, fewer keys.
"""

import base64
import gzip
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date, timedelta
from itertools import pairwise, repeat
from typing import Any

import duckdb

from clickstream_assets.aggregates.registry import AGGREGATES
from clickstream_assets.dashboard.panels import SOURCES, Source
from resources.catalog import DuckDBCatalog
from resources.lake import Lake
from resources.warehouse import connect, duckdb_limits

_READ = {source.table for source in SOURCES}
SHOWN_TABLES = {aggregate.name: aggregate.table for aggregate in AGGREGATES if aggregate.name in _READ}
FEWEST_KEYS = 10
MOST_EXACT = 2**53 - 1
SECOND = 1_000_000_000
DAY = timedelta(days=1)


class NoDataError(Exception):
    """There are no tables to make a dashboard of."""


@contextmanager
def opened(lake: Lake, memory_limit_bytes: int) -> Iterator[duckdb.DuckDBPyConnection]:
    """The tables of the dashboard as they lie in the lake now, in a catalog of their own."""
    tables = list(SHOWN_TABLES.values())
    with lake.scratch() as folder, lake.mirrored(tables) as mirror:
        catalog = DuckDBCatalog(folder / "catalog.duckdb", mirror)
        catalog.refresh(tables)
        limits = duckdb_limits(memory_limit_bytes, folder / "duckdb")
        with connect(catalog.file, read_only=True, config=limits) as connection:
            yield connection


def as_of(lake: Lake) -> int:
    """What to date a page by, in nanoseconds since 1970: it changes with any file that the tables are made of.

    0 where there are none. One `stat` a table and day: 0.1 s for 400 days.
    """
    lake = lake.snapshot()
    moments = [lake.written_at(table, day) for table in SHOWN_TABLES.values() for day in lake.days(table)]
    return max(moments, default=0) // SECOND * SECOND + sum(moments) % SECOND


def pack(connection: duckdb.DuckDBPyConnection, most_bytes: int) -> bytes:
    """The tables of a catalog as the page holds them: JSON, gzip, base64; equal tables give equal bytes.

    Raises:
        NoDataError: the tables are empty.
    """
    until = _value(connection, "SELECT MAX(date) FROM events_by_type")
    if until is None:
        raise NoDataError
    # A day may have one table and not yet the other.
    last_seen = "SELECT COALESCE(MAX(last_seen), CAST(? AS TIMESTAMP)) FROM actions_by_customer WHERE date = ?"
    newest = _value(connection, last_seen, until, until)
    extracts = [extract(connection, source, until) for source in SOURCES]
    while True:
        tables = {each.source.table: each.columns() for each in extracts}
        packed = encode({"until": newest.isoformat(timespec="seconds"), "tables": tables})
        if len(packed) <= most_bytes:
            return packed
        if all(len(each.keys) <= FEWEST_KEYS for each in extracts if each.source.most):
            raise ValueError(f"the smallest page's data take {len(packed)} bytes, more than {most_bytes}")
        extracts = [each.shrunk(min(0.9, 0.95 * most_bytes / len(packed))) for each in extracts]


def sums_by_step(
    connection: duckdb.DuckDBPyConnection, source: Source, since: date, until: date
) -> dict[int, tuple[int, ...]]:
    """What the measures of a table add up to in each step of time, counted as the page counts them."""
    sums = ", ".join(_sum(source.table, measure) for measure in source.measures)
    statement = f'SELECT {_at(source, since)}, {sums} FROM "{source.table}" h WHERE date BETWEEN ? AND ? GROUP BY 1'  # noqa: S608  declared names only
    return {at: tuple(values) for at, *values in connection.execute(statement, [since, until]).fetchall()}


def encode(content: dict[str, Any]) -> bytes:
    """JSON as the page unpacks it."""
    text = json.dumps(content, separators=(",", ":"), ensure_ascii=False)
    return base64.b64encode(gzip.compress(text.encode(), 9, mtime=0))


def decode(packed: bytes) -> dict[str, Any]:
    """What `encode` made bytes of."""
    content: dict[str, Any] = json.loads(gzip.decompress(base64.b64decode(packed)))
    return content


@dataclass(frozen=True)
class Extract:
    """The sums of a table by key and step of time since a day: rows of key, step and measures, sorted.

    `keys` are those held, in their order of rank, with their labels; a key behind the last of them is all others of
    the `total` together.
    """

    source: Source
    since: date
    total: int
    keys: list[tuple[Any, ...]]
    rows: list[tuple[int, ...]]

    def shrunk(self, share: float) -> "Extract":
        """With only the first keys, where the source has a limit; what the others add up to joins the rest."""
        most = max(FEWEST_KEYS, int(len(self.keys) * share))
        if not self.source.most or most >= len(self.keys):
            return self
        rest: dict[int, list[int]] = {}
        for _, at, *sums in (row for row in self.rows if row[0] >= most):
            rest[at] = [sum(pair) for pair in zip(rest.get(at, repeat(0)), sums, strict=False)]
        held = [row for row in self.rows if row[0] < most]
        return replace(
            self, keys=self.keys[:most], rows=[*held, *((most, at, *sums) for at, sums in sorted(rest.items()))]
        )

    def columns(self) -> dict[str, Any]:
        """As the page reads it: in columns, key and step as differences to the row before."""
        names = (*self.source.keys, *self.source.labels)
        measures = enumerate(self.source.measures, start=2)
        return {
            "since": self.since.isoformat(),
            "total": self.total,
            "keys": {name: [_plain(row[at]) for row in self.keys] for at, name in enumerate(names)},
            "key": _differences([row[0] for row in self.rows]),
            "at": _differences([row[1] for row in self.rows]),
            "sums": {name: [row[at] for row in self.rows] for at, name in measures},
        }


def extract(connection: duckdb.DuckDBPyConnection, source: Source, until: date) -> Extract:
    """A table's newest days, as many keys as its source allows. Money is in hundredths.

    Days that are added up to one step begin with a Monday: of the first week's cohort not a part is held, but all.
    """
    columns = ", ".join(f'"{name}"' for name in _needed(source))
    first = until - (source.most_days - 1) * DAY
    if source.step == "all":
        first -= first.weekday() * DAY
    connection.execute(
        f'CREATE OR REPLACE TEMP TABLE held AS SELECT date, {columns} FROM "{source.table}" '  # noqa: S608  declared names only
        "WHERE date BETWEEN ? AND ?",
        [first, until],
    )
    since = _value(connection, "SELECT MIN(date) FROM held") or until
    keys = _ranked_keys(connection, source)
    most = source.most or len(keys)
    return Extract(source, since, len(keys), keys[:most], _sums(connection, source, since, most))


def _needed(source: Source) -> list[str]:
    hour = ["hour"] if source.step == "hour" else []
    rank = [source.rank_by] if source.rank_by else []
    return list(dict.fromkeys([*source.keys, *source.labels, *source.measures, *hour, *rank]))


def _ranked_keys(connection: duckdb.DuckDBPyConnection, source: Source) -> list[tuple[Any, ...]]:
    """Every key with its labels, the busiest first; makes the table `ranked`."""
    keys = [f'"{name}"' for name in source.keys]
    labels = [f'ARG_MAX("{name}", date) AS "{name}"' for name in source.labels]
    rank = [f'SUM("{source.rank_by}") DESC'] if source.rank_by else []
    order = ", ".join([*rank, *(f"{key} NULLS LAST" for key in keys)])
    select = (
        f"SELECT {', '.join([*keys, *labels])}, ROW_NUMBER() OVER (ORDER BY {order}) - 1 AS place "  # noqa: S608
        f"FROM held GROUP BY {', '.join(keys)}"
        if keys
        else "SELECT 0 AS place"
    )
    connection.execute(f"CREATE OR REPLACE TEMP TABLE ranked AS {select}")
    return connection.execute("SELECT * FROM ranked ORDER BY place").fetchall()


def _sums(connection: duckdb.DuckDBPyConnection, source: Source, since: date, most: int) -> list[tuple[int, ...]]:
    same = " AND ".join(f'h."{key}" IS NOT DISTINCT FROM r."{key}"' for key in source.keys) or "true"
    sums = ", ".join(_sum(source.table, measure) for measure in source.measures)
    return connection.execute(
        f"SELECT LEAST(r.place, {most}), {_at(source, since)}, {sums} FROM held h JOIN ranked r ON {same} "  # noqa: S608
        "GROUP BY 1, 2 ORDER BY 1, 2"
    ).fetchall()


def _at(source: Source, since: date) -> str:
    """How many steps of time a row lies behind the first day's begin."""
    return {
        "day": f"date_diff('day', DATE '{since}', h.date)",
        "hour": f"date_diff('hour', TIMESTAMP '{since}', h.hour)",
        "all": "CAST(0 AS BIGINT)",
    }[source.step]


def _sum(table: str, measure: str) -> str:
    """Decimals count hundredths, so that adding them up in a browser stays exact."""
    column = next(column for column in SHOWN_TABLES[table].columns if column.name == measure)
    factor = 100 if column.type.startswith("DECIMAL") else 1
    return f'CAST(COALESCE(SUM(h."{measure}") * {factor}, 0) AS BIGINT)'


def _differences(values: Sequence[int]) -> list[int]:
    return [*values[:1], *(after - before for before, after in pairwise(values))]


def _plain(value: Any) -> Any:
    """As JSON and a browser hold it; its numbers are exact up to MOST_EXACT."""
    match value:
        case float():
            return round(value, 3)
        case date():
            return value.isoformat()
        case int() if abs(value) > MOST_EXACT:
            return str(value)
    return value


def _value(connection: duckdb.DuckDBPyConnection, statement: str, *parameters: Any) -> Any:
    return connection.execute(statement, list(parameters)).fetchall()[0][0]
