"""The catalog: a DuckDB database file with a view per table, which any tool can open while the pipeline runs.

Nothing holds it open for writing: a refresh writes a new file and renames it. A view lists the lake's files when it is
queried, so new partitions show at once; a refresh is for a table's first files and for changed columns.
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import dagster as dg
import duckdb

from resources.lake import Lake
from resources.warehouse import quoted, unloaded_text
from streaming.domain.tables import ENRICHED_EVENTS, ENRICHED_LANDING, Column, Table

HOUR_KEYS = (
    Column("year", "INTEGER", "partition: year"),
    Column("month", "INTEGER", "partition: month"),
    Column("day", "INTEGER", "partition: day of the month"),
    Column("hour", "INTEGER", "partition: hour of the day, UTC"),
)
DAY_KEYS = (Column("date", "DATE", "partition: day of event time, UTC"),)

_UNQUOTED = """regexp_replace("{name}", '^''', '') AS "{name}" """
_HOUR_FOLDER = "regexp_extract({file}, 'year=[0-9]+/month=[0-9]+/day=[0-9]+/hour=[0-9]+')"


class CatalogRefresh(NamedTuple):
    """What a refresh found: all views, and those whose tables have no files yet."""

    views: list[str]
    empty: list[str]


class View(NamedTuple):
    """A SELECT over tables that the catalog keeps under a name, and what it and its columns mean."""

    name: str
    comment: str
    columns: tuple[Column, ...]
    select: str


class Catalog(Protocol):
    """A database that knows every table."""

    def refresh(self, tables: Sequence[Table], views: Sequence[View] = ()) -> CatalogRefresh:
        """Bring the catalog up to date with these tables, and the views over them."""


class DuckDBCatalog:
    """The catalog of a lake in this machine's file system."""

    def __init__(self, file: Path, lake: Lake) -> None:
        self.file = file
        self._lake = lake

    def refresh(self, tables: Sequence[Table], views: Sequence[View] = ()) -> CatalogRefresh:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        staged = self.file.with_name(f".{self.file.name}.{os.urandom(4).hex()}")
        try:
            with duckdb.connect(staged) as connection:
                for view in (*map(self._view, tables), *views):
                    connection.execute(f'CREATE VIEW "{view.name}" AS {view.select}')
                    for comment in _comments(view):
                        connection.execute(comment)
            staged.replace(self.file)
        finally:
            staged.unlink(missing_ok=True)
        empty = [table.name for table in tables if not self._has_files(table)]
        return CatalogRefresh([each.name for each in (*tables, *views)], empty)

    def _view(self, table: Table) -> View:
        return View(table.name, table.comment, _all_columns(table), self._select(table))

    def _select(self, table: Table) -> str:
        live = table == ENRICHED_EVENTS and self._has_files(ENRICHED_LANDING)
        return self._sealed_and_landed() if live else self._select_files(table)

    def _select_files(self, table: Table) -> str:
        if not self._has_files(table):
            return f"SELECT {', '.join(_nothing(column) for column in _all_columns(table))} LIMIT 0"
        columns = ", ".join(_column(table, column) for column in _all_columns(table))
        return f"SELECT {columns} FROM {self._reader(table)}"  # noqa: S608  declared names only

    def _sealed_and_landed(self) -> str:
        """Sealed hours, and landing of the hours that are not sealed when the query runs.

        An hour stays sealed, so landing before the first one that is not sealed now need not be read.
        """
        sealed = set(self._lake.hours(ENRICHED_EVENTS.prefix))
        landed = self._select_files(ENRICHED_LANDING)
        if not sealed:
            return landed
        open_hours = [hour for hour in self._lake.hours(ENRICHED_LANDING.prefix) if hour not in sealed]
        first = min(open_hours, default=max(sealed))
        sealed_now = f"SELECT {_HOUR_FOLDER.format(file='s.file')} FROM glob({self._files(ENRICHED_EVENTS)}) s"  # noqa: S608
        return (
            f"{self._select_files(ENRICHED_EVENTS)} UNION ALL {landed} l "
            f"WHERE make_timestamp(l.year, l.month, l.day, l.hour, 0, 0) >= TIMESTAMP '{first:%Y-%m-%d %H}:00:00' "
            f"AND {_HOUR_FOLDER.format(file='l.filename')} NOT IN ({sealed_now})"
        )

    def _reader(self, table: Table) -> str:
        keys = ", ".join(f"{key.name}: {key.type}" for key in _keys(table))
        types = ", ".join(f"'{column.name}': '{column.type}'" for column in table.columns)
        hive = "filename = true, "
        hive += f"hive_partitioning = true, hive_types = {{{keys}}}" if keys else "hive_partitioning = false"
        match table.format:
            case "parquet":
                return f"read_parquet({self._files(table)}, {hive})"
            case "json":
                options = f"format = 'newline_delimited', columns = {{{types}}}"
                return f"read_json({self._files(table)}, {options}, {hive})"
            case "csv":
                form = "auto_detect = false, delim = '|', quote = '\"', escape = '\"', header = true"
                options = f"{form}, allow_quoted_nulls = false, columns = {{{types}}}"
                return f"read_csv({self._files(table)}, {options}, {hive})"

    def _files(self, table: Table) -> str:
        return quoted(str(self._lake.path(_pattern(table))))

    def _has_files(self, table: Table) -> bool:
        return next(self._lake.root.glob(_pattern(table)), None) is not None


class DuckDBCatalogResource(dg.ConfigurableResource[DuckDBCatalog]):
    """The catalog of the lake at `root`, in a DuckDB file."""

    file: str
    root: str

    def create_resource(self, context: dg.InitResourceContext) -> DuckDBCatalog:
        return DuckDBCatalog(Path(self.file), Lake(Path(self.root)))


def _keys(table: Table) -> tuple[Column, ...]:
    return {"hour": HOUR_KEYS, "day": DAY_KEYS, None: ()}[table.partition]


def _all_columns(table: Table) -> tuple[Column, ...]:
    return (*table.columns, *_keys(table))


def _pattern(table: Table) -> str:
    folders = (f"{key.name}=*" for key in _keys(table))
    return "/".join((table.prefix, *folders, "[!.]*"))


def _nothing(column: Column) -> str:
    return f'CAST(NULL AS {column.type}) AS "{column.name}"'


def _column(table: Table, column: Column) -> str:
    if table.format == "csv" and column.type == "VARCHAR":
        return unloaded_text(column.name)
    return f'"{column.name}"'


def _comments(view: View) -> Iterator[str]:
    yield f'COMMENT ON VIEW "{view.name}" IS {quoted(view.comment)}'
    for column in view.columns:
        yield f'COMMENT ON COLUMN "{view.name}"."{column.name}" IS {quoted(column.comment)}'
