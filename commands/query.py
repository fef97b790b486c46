"""`./run query`: SQL on the catalog's tables, one statement or a shell."""

import json
import os
import re
import shutil
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from importlib.resources import files
from pathlib import Path
from typing import Any, NoReturn

import click
import duckdb
import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq
from rich.console import Console
from rich.measure import Measurement
from rich.table import Column, Table
from rich.text import Text

from clickstream_assets.catalog import CATALOGUED, ROLLED_UP
from resources.catalog import DuckDBCatalog
from resources.lake import DirectoryLake
from resources.warehouse import FORMULA, NEUTRALISED, duckdb_limits, quoted
from streaming.settings import load_settings, make_home

FORMATS = ("table", "csv", "json", "parquet")
# The program itself: the script of its package would stay in between, and kill it at Ctrl-C.
SHELL = Path(str(files("duckdb_cli")), "duckdb")
HISTORY_FILE = "sql_history"
IN_UTC = "SET TimeZone = 'UTC'"  # for now() and current_date: partitions are of UTC
MOST_ROWS_SHOWN = 200
LONGEST_VALUE_SHOWN = 200
# Wide enough to tell what a table would like to take.
UNBOUNDED = 100_000
# Columns where the output is no terminal.
WIDTH = 120


@click.command()
@click.argument("sql", required=False)
@click.option(
    "--format", "form", type=click.Choice(FORMATS), default="table", show_default=True, help="Form of the answer."
)
@click.option("--output", type=click.Path(dir_okay=False, writable=True, path_type=Path), help="Write to this file.")
def query(sql: str | None, form: str, output: Path | None) -> None:
    """Run SQL on the tables; `-` reads it from standard input. Without SQL, open DuckDB's shell on them.

    \b
    ./run query
    ./run query "SELECT event_name, COUNT(*) FROM flattened_events GROUP BY 1"
    ./run query "SHOW TABLES"

    The shell completes names with Tab, keeps its history in the home, cancels a statement at Ctrl-C and leaves at
    Ctrl-D. It reads no ~/.duckdbrc; `.read ~/.duckdbrc` does.

    A table shows its first rows, one below the other with their values cut where it is wider than the terminal; the
    other formats write all of them, JSON one object a line. In CSV, text that a spreadsheet would take for a formula
    gets a quote in front.
    """
    _check_usage(sql, form, output)
    statement = sys.stdin.read() if sql == "-" else sql
    settings = load_settings()
    if settings.deployment == "aws":
        stack = settings.stack
        raise click.ClickException(f"on AWS, ask Athena: workgroup {stack.name}, database {stack.database}")
    make_home(settings.home)
    catalog = DuckDBCatalog(settings.home / "catalog.duckdb", DirectoryLake(settings.lake))
    views = sorted(catalog.refresh(CATALOGUED, ROLLED_UP).views)
    limits = duckdb_limits(settings.memory_limit_bytes, settings.home / "duckdb")
    if statement is None:
        _greet(views)
        _become_shell(catalog.file, limits, settings.home / HISTORY_FILE)
    with duckdb.connect(catalog.file, read_only=True, config=limits) as connection, _explained(views), _interruptible():
        connection.execute(IN_UTC)
        relation = connection.sql(statement)
        if relation is None:
            raise click.ClickException("that statement has no rows to show")
        if form == "table":
            _show(relation, output)
        else:
            _write(relation.to_arrow_reader(), form, output)


def _check_usage(sql: str | None, form: str, output: Path | None) -> None:
    if sql is None and (form != "table" or output is not None):
        raise click.UsageError("--format and --output need SQL")
    if sql is None and not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise click.UsageError("without SQL this opens a shell, which needs a terminal; `-` reads SQL from a pipe")
    if form == "parquet" and output is None:
        raise click.UsageError("--format parquet needs --output FILE")
    if output is not None and not output.parent.is_dir():
        raise click.UsageError(f"--output: there is no folder {output.parent}")


def _greet(views: Sequence[str]) -> None:
    width = shutil.get_terminal_size().columns
    click.echo(click.wrap_text(f"Tables: {', '.join(views)}", width, subsequent_indent="  "))
    click.echo("DESCRIBE <table> lists its columns, docs/tables.md explains them. Times are UTC. Ctrl-D leaves.\n")


def _become_shell(catalog: Path, limits: Mapping[str, Any], history: Path) -> NoReturn:
    """Replace this process by DuckDB's shell, so that signals and the exit status are its own."""
    settings = "; ".join([IN_UTC, *(f"SET {name} = {quoted(str(value))}" for name, value in limits.items())])
    environment = os.environ | {"DUCKDB_HISTORY": str(history)}
    os.execve(SHELL, ["duckdb", "-readonly", "-no-init", "-cmd", settings, str(catalog)], environment)  # noqa: S606


@contextmanager
def _explained(views: Sequence[str]) -> Iterator[None]:
    """An error of the statement, in DuckDB's words; for a table that is not there, those that are."""
    try:
        yield
    except duckdb.CatalogException as error:
        # DuckDB's nearest name may be one of its own system tables.
        message = re.sub(r"(Table with name .* does not exist!)\nDid you mean .*", r"\1", str(error))
        raise click.ClickException(f"{message}\n\nTables: {', '.join(views)}") from error
    except duckdb.Error as error:
        raise click.ClickException(str(error)) from error


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let Ctrl-C end the process at once: Python's own handler waits until DuckDB is done."""
    previous = signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)


def _show(relation: duckdb.DuckDBPyRelation, output: Path | None) -> None:
    fetched = relation.fetchmany(MOST_ROWS_SHOWN + 1)
    rows = [[_text(value) for value in row] for row in fetched[:MOST_ROWS_SHOWN]]
    table = Table(*(Column(Text(name)) for name in relation.columns))
    for row in rows:
        table.add_row(*(Text(value) for value in row))
    with output.open("w") if output else nullcontext(sys.stdout) as sink:
        console = Console(file=sink, width=UNBOUNDED)
        fits = Measurement.get(console, console.options, table).maximum <= shutil.get_terminal_size((WIDTH, 24)).columns
        console.print(table if fits else _one_below_the_other(relation.columns, rows), soft_wrap=not fits)
        if len(fetched) > MOST_ROWS_SHOWN:
            console.print(f"The first {MOST_ROWS_SHOWN} rows; --format csv writes all.")


def _one_below_the_other(columns: list[str], rows: list[list[str]]) -> Text:
    """A block a row, a line a column."""
    if not rows:
        return Text(f"No rows of {', '.join(columns)}.")
    width = max(map(len, columns)) + 1
    lines: list[str] = []
    for number, row in enumerate(rows, start=1):
        lines.append(f"-[ row {number} ]".ljust(width + 20, "-"))
        lines += [f"{name + ':':<{width}} {_cut(value)}".rstrip() for name, value in zip(columns, row, strict=True)]
    return Text("\n".join(lines))


def _text(value: Any) -> str:
    match value:
        case None:
            return ""
        case dict() | list() | tuple():
            return msgspec.json.encode(value, enc_hook=str).decode()
    return str(value)


def _cut(text: str) -> str:
    line = text.replace("\n", "\\n")
    return line if len(line) <= LONGEST_VALUE_SHOWN else f"{line[:LONGEST_VALUE_SHOWN]}…"


def _write(rows: pa.RecordBatchReader, form: str, output: Path | None) -> None:
    with output.open("wb") if output else nullcontext(sys.stdout.buffer) as sink:
        match form:
            case "csv":
                with pyarrow.csv.CSVWriter(sink, _csv_ready(rows.schema.empty_table()).schema) as writer:
                    for batch in rows:
                        writer.write(_csv_ready(pa.table(batch)))
            case "json":
                for batch in rows:
                    for row in batch.to_pylist():
                        sink.write(_json(row) + b"\n")
            case "parquet":
                with pq.ParquetWriter(sink, rows.schema, compression="zstd") as parquet:
                    for batch in rows:
                        parquet.write(batch)


def _csv_ready(rows: pa.Table) -> pa.Table:
    """Rows that CSV can hold: structs and lists as JSON, bytes as text, and no text that is a formula."""
    for index, field in enumerate(rows.schema):
        column = rows.column(index)
        if pa.types.is_nested(field.type) or pa.types.is_binary(field.type):
            column = pa.chunked_array([[_csv_text(value) for value in column.to_pylist()]], pa.string())
        if pa.types.is_string(column.type):
            column = pc.replace_substring_regex(column, FORMULA, NEUTRALISED)
        rows = rows.set_column(index, field.name, column)
    return rows


def _csv_text(value: Any) -> str | None:
    if value is None:
        return None
    return value.decode(errors="replace") if isinstance(value, bytes) else _json(value).decode()


def _json(value: Any) -> bytes:
    return json.dumps(value, default=_json_text, ensure_ascii=False).encode()


def _json_text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
