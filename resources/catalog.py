"""The catalog: a DuckDB database file with a view per table, which any tool can open while the pipeline runs.

Nothing holds it open for writing: a refresh writes a new file and renames it. A view lists the lake's files when it is
queried, so new partitions show at once; a refresh is for a table's first files, for changed columns, and for files that
a crawl found to differ from the others.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple, Protocol

import dagster as dg
import duckdb

from resources.crawler import MOST_BYTES, MOST_FILES, SCHEMA_DRIFT, Crawl, Crawler, Drift, Known
from resources.file_readers import select_rows
from resources.lake import DirectoryLake
from resources.warehouse import empty_select, quoted
from streaming.domain.layout import folder_patterns
from streaming.domain.tables import ENRICHED_EVENTS, ENRICHED_LANDING, Column, Table
from streaming.edges.lake import replaced

_HOUR_FOLDER = "regexp_extract({file}, 'year=[0-9]+/month=[0-9]+/day=[0-9]+/hour=[0-9]+')"


class CatalogRefresh(NamedTuple):
    """What a refresh found: all views, those whose tables have no files yet, and how files are known to differ."""

    views: list[str]
    empty: list[str]
    drifts: list[Drift]


class View(NamedTuple):
    """A SELECT over tables that the catalog keeps under a name, and what it and its columns mean."""

    name: str
    comment: str
    columns: tuple[Column, ...]
    select: str


class Catalog(Protocol):
    """A database that knows every table."""

    def refresh(self, tables: Sequence[Table], views: Sequence[View] = ()) -> CatalogRefresh:
        """Bring the catalog up to date with these tables, the views over them, and what crawls have found."""

    def crawl(self, tables: Sequence[Table]) -> Crawl:
        """Look at files of these tables that are new or changed."""


class DuckDBCatalog:
    """The catalog of a lake in this machine's file system."""

    def __init__(self, file: Path, lake: DirectoryLake) -> None:
        self.file = file
        self._lake = lake
        self._crawler = Crawler(file.with_suffix(".crawl.json"), lake)

    def crawl(self, tables: Sequence[Table], most_files: int = MOST_FILES, most_bytes: int = MOST_BYTES) -> Crawl:
        return self._crawler.crawl(tables, most_files, most_bytes)

    def refresh(self, tables: Sequence[Table], views: Sequence[View] = ()) -> CatalogRefresh:
        known = self._crawler.known(tables)
        all_views = (*(self._view(table, known) for table in tables), *views, drift_view(known.drifts))
        with replaced(self.file, durable=False) as draft, duckdb.connect(draft) as connection:
            for view in all_views:
                connection.execute(f'CREATE VIEW "{view.name}" AS {view.select}')
                for comment in _comments(view):
                    connection.execute(comment)
        empty = [table.name for table in tables if not self._has_files(table)]
        return CatalogRefresh([view.name for view in all_views], empty, known.drifts)

    def _view(self, table: Table, known: Known) -> View:
        live = table == ENRICHED_EVENTS and self._has_files(ENRICHED_LANDING)
        select = self._sealed_and_landed(known) if live else self._select(table, known)
        return View(table.name, table.comment, _all_columns(table), select)

    def _select(self, table: Table, known: Known) -> str:
        if not self._has_files(table):
            return empty_select(_all_columns(table))
        columns = ", ".join(f'"{column.name}"' for column in _all_columns(table))
        apart = {str(self._lake.path(file)): columns for file, columns in known.apart.get(table.name, {}).items()}
        rows = select_rows(table, table.partition_columns, str(self._lake.path(table.prefix)), apart)
        return f"SELECT {columns} FROM ({rows})"  # noqa: S608  declared names only

    def _sealed_and_landed(self, known: Known) -> str:
        """Sealed hours, and landing of the hours that are not sealed when the query runs.

        An hour stays sealed, so landing before the first one that is not sealed now need not be read.
        """
        sealed = set(self._lake.hours(ENRICHED_EVENTS))
        landed = self._select(ENRICHED_LANDING, known)
        if not sealed:
            return landed
        open_hours = [hour for hour in self._lake.landed_hours(ENRICHED_LANDING.prefix) if hour not in sealed]
        first = min(open_hours, default=max(sealed))
        sealed_now = f"SELECT {_HOUR_FOLDER.format(file='s.file')} FROM glob({self._files(ENRICHED_EVENTS)}) s"  # noqa: S608
        return (
            f"{self._select(ENRICHED_EVENTS, known)} UNION ALL {landed} l "
            f"WHERE make_timestamp(l.year, l.month, l.day, l.hour, 0, 0) >= TIMESTAMP '{first:%Y-%m-%d %H}:00:00' "
            f"AND {_HOUR_FOLDER.format(file='l.filename')} NOT IN ({sealed_now})"
        )

    def _files(self, table: Table) -> str:
        return quoted(str(self._lake.path(_pattern(table))))

    def _has_files(self, table: Table) -> bool:
        return next(self._lake.root.glob(_pattern(table)), None) is not None


class DuckDBCatalogResource(dg.ConfigurableResource[DuckDBCatalog]):
    """The catalog of the lake at `root`, in a DuckDB file."""

    file: str
    root: str

    def create_resource(self, context: dg.InitResourceContext) -> DuckDBCatalog:
        return DuckDBCatalog(Path(self.file), DirectoryLake(Path(self.root)))


def _all_columns(table: Table) -> tuple[Column, ...]:
    return (*table.columns, *table.partition_columns)


def _pattern(table: Table) -> str:
    return "/".join((table.prefix, *folder_patterns(table), "[!.]*"))


def drift_view(drifts: Sequence[Drift]) -> View:
    """The drifts themselves: they are few."""
    rows = (f"({', '.join(quoted(_text(value)) for value in drift)})" for drift in drifts)
    names = ", ".join(f'"{column.name}"' for column in SCHEMA_DRIFT)
    typed = ", ".join(f'CAST("{column.name}" AS {column.type}) AS "{column.name}"' for column in SCHEMA_DRIFT)
    select = f"SELECT {typed} FROM (VALUES {', '.join(rows)}) v({names})"  # noqa: S608  declared names, quoted values
    comment = "how files differ from their table's declared schema, as of the latest crawl"
    return View("schema_drift", comment, SCHEMA_DRIFT, select if drifts else empty_select(SCHEMA_DRIFT))


def _text(value: object) -> str:
    return f"{value:%Y-%m-%d %H:%M:%S.%f}" if isinstance(value, datetime) else str(value)


def _comments(view: View) -> Iterator[str]:
    yield f'COMMENT ON VIEW "{view.name}" IS {quoted(view.comment)}'
    for column in view.columns:
        yield f'COMMENT ON COLUMN "{view.name}"."{column.name}" IS {quoted(column.comment)}'
