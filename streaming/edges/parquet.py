"""JSON lines to Parquet, by a table's declared schema: the record format conversion of a delivery stream."""

import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import IO, NamedTuple

import msgspec
import pyarrow as pa
import pyarrow.json
import pyarrow.parquet

from streaming.domain.tables import DELIVERY_COLUMNS, Table

_SCALARS = {
    "BIGINT": pa.int64(),
    "BLOB": pa.binary(),
    "BOOLEAN": pa.bool_(),
    "DATE": pa.date32(),
    "DOUBLE": pa.float64(),
    "INT": pa.int32(),
    "JSON": pa.string(),
    "TIMESTAMP": pa.timestamp("us"),
    "VARCHAR": pa.string(),
}
_DECIMAL = re.compile(r"DECIMAL\((\d+), ?(\d+)\)")
# Rows and bytes at which a row group is full.
_ROW_GROUP_ROWS = 122_880
_ROW_GROUP_BYTES = 32_000_000
_IDENTITY = {column.name for column in DELIVERY_COLUMNS}


class _AnyObject(msgspec.Struct):
    """Any JSON object, on its own."""


_check_object = msgspec.json.Decoder(_AnyObject).decode


class Rejected(NamedTuple):
    """A line that does not convert: its position among the lines given, and why."""

    position: int
    reason: str


class Converted(NamedTuple):
    """The lines that convert, as rows in their order, and those that do not."""

    rows: pa.Table
    rejected: list[Rejected]


def arrow_schema(table: Table) -> pa.Schema:
    """The declared columns of a table, as Arrow types them."""
    return pa.schema([(column.name, arrow_type(column.type)) for column in table.columns])


def arrow_type(sql: str) -> pa.DataType:
    """The Arrow type of a SQL type such as `DECIMAL(18,2)` or `STRUCT(event_hour TIMESTAMP, events BIGINT)[]`.

    Raises:
        KeyError: no such type.
    """
    if sql.endswith("[]"):
        return pa.list_(arrow_type(sql[:-2]))
    if sql.startswith("STRUCT("):
        fields = (field.split(" ", 1) for field in split_fields(sql[len("STRUCT(") : -1]))
        return pa.struct([(name, arrow_type(type_)) for name, type_ in fields])
    if decimal := _DECIMAL.fullmatch(sql):
        return pa.decimal128(int(decimal[1]), int(decimal[2]))
    return _SCALARS[sql]


def convert(lines: Sequence[bytes], schema: pa.Schema) -> Converted:
    """Read JSON objects, one to a line, as rows of `schema`; keys that it does not name are dropped.

    A line that is no such object, or has no identity where the schema asks for one, costs itself, not its neighbours.
    """
    tables: list[pa.Table] = []
    rejected: list[Rejected] = []
    spans = [(0, len(lines))] if lines else []
    while spans:
        start, end = spans.pop()
        try:
            tables.append(_read(lines[start:end], schema))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError, msgspec.MsgspecError, RecursionError) as error:
            if end - start == 1:
                rejected.append(Rejected(start, str(error)))
            else:
                middle = (start + end) // 2
                spans += [(middle, end), (start, middle)]
    return Converted(pa.concat_tables(tables).combine_chunks() if tables else schema.empty_table(), rejected)


def parquet_bytes(rows: pa.Table) -> bytes:
    """A Parquet file with Snappy compression; equal rows give equal bytes."""
    sink = io.BytesIO()
    pa.parquet.write_table(rows, sink, compression="snappy", store_schema=False)
    return sink.getvalue()


def write_row_groups(
    batches: Iterable[pa.RecordBatch], schema: pa.Schema, sink: IO[bytes], metadata: Mapping[str, str]
) -> int:
    """Write rows to one Parquet file with Zstandard compression; equal batches give equal bytes. Returns how many rows.

    A row group ends with the batch that fills it; no more than that is held in memory.
    """
    rows = 0
    with pa.parquet.ParquetWriter(sink, schema, compression="zstd", store_schema=False) as writer:
        writer.add_key_value_metadata(dict(metadata))
        for group in _row_groups(batches):
            table = pa.Table.from_batches(group).cast(schema).combine_chunks()
            writer.write_table(table, row_group_size=table.num_rows)
            rows += table.num_rows
    return rows


def _row_groups(batches: Iterable[pa.RecordBatch]) -> Iterator[list[pa.RecordBatch]]:
    group: list[pa.RecordBatch] = []
    for batch in batches:
        group.append(batch)
        if sum(map(len, group)) >= _ROW_GROUP_ROWS or sum(each.nbytes for each in group) >= _ROW_GROUP_BYTES:
            yield group
            group = []
    if group:
        yield group


def _read(lines: Sequence[bytes], schema: pa.Schema) -> pa.Table:
    # pyarrow's reader counts objects, not lines, and a text of nothing but `null` brings the process down.
    for line in lines:
        _check_object(line)
    text = b"\n".join(line.strip() for line in lines)
    rows = pa.json.read_json(
        io.BytesIO(text),
        read_options=pa.json.ReadOptions(use_threads=False, block_size=len(text) + 1),
        parse_options=pa.json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore"),
    )
    for name in _IDENTITY.intersection(schema.names):
        if rows[name].null_count:
            raise pa.ArrowInvalid(f"{name} is null: the ledger could not account for the row")
    rows.validate(full=True)  # the reader takes strings that are not UTF-8, which no reader of Parquet would
    return rows.select(schema.names)


def split_fields(text: str) -> list[str]:
    """Split the fields of a struct's type: at the commas that stand in no bracket."""
    fields, depth, start = [], 0, 0
    for position, character in enumerate(text):
        depth += (character in "(<") - (character in ")>")
        if character == "," and depth == 0:
            fields.append(text[start:position].strip())
            start = position + 1
    return [*fields, text[start:].strip()]
