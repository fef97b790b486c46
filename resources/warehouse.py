"""The warehouse: runs the SELECTs of `sql/` over files of the lake.

Here on DuckDB, in process and within a memory limit; on AWS the same statements run on Redshift Spectrum. What wraps a
SELECT (COPY, UNLOAD) is the engine's business and stands here; the SELECT is the project's and stands in a file.
"""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar

import dagster as dg
import duckdb
import pyarrow as pa

from resources.lake import Swept, local_paths, sweep
from resources.wide_rows import Order, is_wide, save_in_ranges
from streaming.domain.tables import Column, Table
from streaming.settings import ROOT

ROW_GROUP_ROWS = 122_880
# What is named twice in a statement DuckDB would hold in memory, whole; other engines read the hint as a comment.
INLINED = "NOT MATERIALIZED"
# Sorting rows as wide as an event takes so much a thread, however much of it goes to disk.
THREAD_BYTES = 150_000_000

Answer = TypeVar("Answer")

# What a spreadsheet would run as a formula, wherever in the text it may cut cells: by `|`, or as it usually does, by
# comma, semicolon or tab. Such text gets a quote in front, and so does a quote, so that reading can take it away again.
FORMULA = r"""((?:^|[,;|"\t\r\n\x00]) *)([=+@＝＋－＠'-])"""
NEUTRALISED = r"\1'\2"
_NEUTRALISED_FORMULA = FORMULA.replace(")(", ")'(")


class Source(NamedTuple):
    """Files that a statement reads as one table; no files make an empty, typed one.

    Files that were written on the way to an answer are of no declared table. `partitions`: the first and the last of
    the table's that are meant, for an engine that reads the lake's catalog rather than files.
    """

    table: Table | None
    files: Sequence[os.PathLike[str]]
    partitions: tuple[date, date] | None = None


Sources = Mapping[str, Source]


class Warehouse(Protocol):
    """Runs SELECTs with positional parameters; `sources` gives the tables that a statement names."""

    def select(self, statement: str, parameters: Sequence[Any], sources: Sources) -> pa.Table:
        """The rows of a small answer."""

    def save(
        self,
        statement: str,
        parameters: Sequence[Any],
        sources: Sources,
        file: os.PathLike[str],
        metadata: Mapping[str, str],
        order: Order | None = None,
    ) -> int:
        """Write the answer to one Parquet file; equal input gives equal bytes. Returns how many rows.

        Args:
            order: columns to write the rows in the order of; rows may then have any width.
        """

    def unload(
        self, statement: str, parameters: Sequence[Any], sources: Sources, file: os.PathLike[str], table: Table
    ) -> int:
        """Write the answer to one `|`-delimited CSV file with a header, columns as declared. Returns how many rows."""

    def sweep(self, before: float) -> Swept:
        """Remove what statements that were killed left of memory that they had spilled, untouched since `before`.

        Args:
            before: seconds since 1970.
        """


def sql_file(name: str) -> str:
    """The statement of `sql/<name>.sql`."""
    return (ROOT / "sql" / f"{name}.sql").read_text()


def quoted(text: str) -> str:
    """A string literal of SQL."""
    return "'" + text.replace("'", "''") + "'"


def csv_text(column: str) -> str:
    """An expression of SQL for a text column in CSV, without formulas."""
    return _replaced(column, FORMULA, NEUTRALISED)


def unloaded_text(column: str) -> str:
    """An expression of SQL for a text column of an unloaded file, as it was before formulas were neutralised."""
    return _replaced(column, _NEUTRALISED_FORMULA, r"\1\2")


def _replaced(column: str, pattern: str, replacement: str) -> str:
    return f"""regexp_replace("{column}", {quoted(pattern)}, {quoted(replacement)}, 'g') AS "{column}" """


def duckdb_limits(memory_limit_bytes: int, temp_directory: Path, threads: int | None = None) -> dict[str, Any]:
    """Configuration of a DuckDB connection: what its buffers may take, and where the rest goes.

    That is a folder of its own, which DuckDB makes and removes: two processes that share one overwrite each other.

    Args:
        threads: how many to use; None: one per core, as far as each has the memory that it needs to spill.
    """
    temp_directory.mkdir(parents=True, exist_ok=True)
    affordable = max(1, memory_limit_bytes // THREAD_BYTES)
    return {
        "memory_limit": f"{memory_limit_bytes}B",
        "temp_directory": str(temp_directory / f".{os.getpid()}-{os.urandom(4).hex()}"),
        "threads": threads or min(affordable, os.cpu_count() or 1),
    }


class DuckDBWarehouse:
    """DuckDB in process. Each statement has a connection of its own, so threads do not meet."""

    def __init__(self, memory_limit_bytes: int, temp_directory: Path, threads: int | None = None) -> None:
        self._temp_directory = temp_directory
        self._limits = partial(duckdb_limits, memory_limit_bytes, temp_directory, threads)

    def select(self, statement: str, parameters: Sequence[Any], sources: Sources) -> pa.Table:
        return self._run(sources, lambda connection: connection.execute(statement, list(parameters)).to_arrow_table())

    def save(
        self,
        statement: str,
        parameters: Sequence[Any],
        sources: Sources,
        file: os.PathLike[str],
        metadata: Mapping[str, str],
        order: Order | None = None,
    ) -> int:
        statement = inlined(statement)
        keys = ", ".join(f"{key}: {quoted(value)}" for key, value in metadata.items())
        options = f"FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {ROW_GROUP_ROWS}"
        if keys:
            options += f", KV_METADATA {{{keys}}}"

        def write(connection: duckdb.DuckDBPyConnection) -> int:
            if not order:
                return _copy(connection, statement, parameters, file, options)
            if any(is_wide(connection, name) for name in sources):
                return save_in_ranges(connection, statement, parameters, order, file, metadata)
            return _copy(connection, f"{statement} ORDER BY {', '.join(order)}", parameters, file, options)

        return self._run(sources, write)

    def unload(
        self, statement: str, parameters: Sequence[Any], sources: Sources, file: os.PathLike[str], table: Table
    ) -> int:
        columns = ", ".join(
            csv_text(column.name) if column.type == "VARCHAR" else f'"{column.name}"' for column in table.columns
        )
        select = f"SELECT {columns} FROM ({inlined(statement)})"  # noqa: S608  declared names only
        options = "FORMAT csv, DELIMITER '|', HEADER"
        return self._run(sources, lambda connection: _copy(connection, select, parameters, file, options))

    def sweep(self, before: float) -> Swept:
        return sweep(self._temp_directory, before)

    def _run(self, sources: Sources, work: Callable[[duckdb.DuckDBPyConnection], Answer]) -> Answer:
        """Do work on files as they were at one moment.

        DuckDB opens a file at every scan, and so may read the footer of an old partition and the pages of the one that
        has just taken its place. Where that happened, the work is done again.
        """
        while True:
            before = _identities(sources)
            try:
                answer = self._connected(sources, work)
            except duckdb.Error:
                if _identities(sources) == before:
                    raise
            else:
                if _identities(sources) == before:
                    return answer

    def _connected(self, sources: Sources, work: Callable[[duckdb.DuckDBPyConnection], Answer]) -> Answer:
        # An ORDER BY decides where order matters.
        with connect(config={**self._limits(), "preserve_insertion_order": False}) as connection:
            for name, source in sources.items():
                _relation(connection, source).create_view(name)
            return work(connection)


class DuckDBWarehouseResource(dg.ConfigurableResource[DuckDBWarehouse]):
    """DuckDB in process; what does not fit in memory goes to `temp_directory`. `threads` 0: one per core."""

    memory_limit_bytes: int
    temp_directory: str
    threads: int = 0

    def create_resource(self, context: dg.InitResourceContext) -> DuckDBWarehouse:
        return DuckDBWarehouse(self.memory_limit_bytes, Path(self.temp_directory), self.threads or None)


def inlined(statement: str) -> str:
    """A statement as DuckDB is to run it."""
    return statement.replace(f"/* {INLINED} */", INLINED)


def _copy(
    connection: duckdb.DuckDBPyConnection,
    statement: str,
    parameters: Sequence[Any],
    file: os.PathLike[str],
    options: str,
) -> int:
    copy = f"COPY ({statement}) TO {quoted(os.fspath(file))} ({options})"
    return int(connection.execute(copy, list(parameters)).fetchall()[0][0])


def _identities(sources: Sources) -> list[tuple[int, int]]:
    """What tells that a partition was replaced; a file that is fetched from elsewhere never is."""
    paths = (file for source in sources.values() for file in source.files if isinstance(file, Path))
    return [(state.st_ino, state.st_ctime_ns) for state in map(os.stat, paths)]


def _relation(connection: duckdb.DuckDBPyConnection, source: Source) -> duckdb.DuckDBPyRelation:
    files = local_paths(source.files)
    if source.table and not files:
        return connection.sql(empty_select(source.table.columns))
    if source.table and source.table.format == "json":
        types = {column.name: column.type for column in source.table.columns}
        return connection.read_json(files, columns=types, format="newline_delimited")  # type: ignore[arg-type]  # takes lists
    by_day = source.table is not None and source.table.partition == "day"
    return connection.from_parquet(files, hive_partitioning=by_day)


def connect(
    database: str | Path = ":memory:",
    *,
    read_only: bool = False,
    config: Mapping[str, str | bool | int | float | list[str]] | None = None,
) -> duckdb.DuckDBPyConnection:
    """As `duckdb.connect`, without the progress bar, which would go to stdout."""
    connection = duckdb.connect(database, read_only=read_only, config=dict(config or {}))
    connection.execute("SET enable_progress_bar = false")
    return connection


def empty_select(columns: Iterable[Column]) -> str:
    """A SELECT of these columns and no rows."""
    nothing = (f'CAST(NULL AS {column.type}) AS "{column.name}"' for column in columns)
    return f"SELECT {', '.join(nothing)} LIMIT 0"
