"""Saving rows of any width: a sort holds 122,880 rows a thread, however wide they are, and so does a row group.

Where events carry much in `extra`, that is more than any memory limit. Then the keys alone are sorted, and cut wherever
the rows' text adds up; each range is selected, sorted and appended as a row group. The cuts depend on the rows alone.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

# Text of a row that is sorted and written by the number of rows, and how much there may be beyond it in all rows.
ORDINARY_BYTES = 400
MOST_BYTES_BEYOND = 32_000_000
# Text in one range.
RANGE_BYTES = 16_000_000
# Keys that are held in memory at a time.
BATCH_ROWS = 20_000


# What rows are in the order of: a moment, and what no two rows of it share.
Order = tuple[str, str]


class _Key(NamedTuple):
    moment: datetime
    tie: str


class _Range(NamedTuple):
    """The keys of its first row and its last."""

    first: _Key
    last: _Key


def is_wide(connection: duckdb.DuckDBPyConnection, table: str) -> bool:
    """Whether a table has too much text to sort and write it by the number of rows."""
    text_bytes = _text_bytes(_schema(connection, f"FROM {table}", ()))
    beyond = f"SELECT SUM(GREATEST({text_bytes} - {ORDINARY_BYTES}, 0)) FROM {table}"  # noqa: S608  declared names only
    ((bytes_beyond,),) = connection.execute(beyond).fetchall()
    return (bytes_beyond or 0) > MOST_BYTES_BEYOND


def save_in_ranges(
    connection: duckdb.DuckDBPyConnection,
    statement: str,
    parameters: Sequence[Any],
    order: Order,
    file: os.PathLike[str],
    metadata: Mapping[str, str],
) -> int:
    """Write the answer to one Parquet file in this order, a row group for each range. Returns how many rows."""
    connection.execute("SET threads = 1")  # each holds 2,048 rows at every step, however wide
    moment, tie = order
    within = (
        f"SELECT * FROM ({statement}) WHERE {moment} BETWEEN ? AND ? "  # noqa: S608
        f"AND ({moment} > ? OR {tie} >= ?) AND ({moment} < ? OR {tie} <= ?) ORDER BY {moment}, {tie}"
    )
    schema = _schema(connection, statement, parameters)
    sorted_keys = f"SELECT {moment}, {tie}, {_text_bytes(schema)} FROM ({statement}) ORDER BY {moment}, {tie}"  # noqa: S608
    ranges = list(_ranges(connection, sorted_keys, parameters))
    rows = 0
    with pq.ParquetWriter(file, schema, compression="zstd", store_schema=False) as writer:
        writer.add_key_value_metadata(dict(metadata))
        for first, last in ranges:
            bounds = [first.moment, last.moment, *first, *last]
            found = connection.execute(within, [*parameters, *bounds]).to_arrow_table().combine_chunks()
            writer.write_table(found)
            rows += found.num_rows
    return rows


def _ranges(connection: duckdb.DuckDBPyConnection, sorted_keys: str, parameters: Sequence[Any]) -> Iterator[_Range]:
    """Ranges of about RANGE_BYTES, from keys and how much text each row has."""
    first, last, size = None, None, 0
    for batch in connection.execute(sorted_keys, list(parameters)).to_arrow_reader(BATCH_ROWS):
        for moment, tie, text_bytes in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            last = _Key(moment, tie)
            first, size = first or last, size + text_bytes
            if size >= RANGE_BYTES:
                yield _Range(first, last)
                first, size = None, 0
    if first and last:
        yield _Range(first, last)


def _schema(connection: duckdb.DuckDBPyConnection, statement: str, parameters: Sequence[Any]) -> pa.Schema:
    return connection.execute(f"SELECT * FROM ({statement}) LIMIT 0", list(parameters)).to_arrow_table().schema  # noqa: S608


def _text_bytes(schema: pa.Schema) -> str:
    """An expression of SQL for the bytes of text in a row."""
    return " + ".join(f'COALESCE(strlen("{field.name}"), 0)' for field in schema if pa.types.is_string(field.type))
