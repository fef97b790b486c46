"""Declared tables as the Glue Data Catalog describes them, for Athena, Redshift Spectrum, Spark and Firehose.

The template in `infra/` has them before anything runs, the catalog keeps them up to date: both are made here.

Delivery alone appends below landing prefixes, so their partitions follow from the clock: Athena projects them. All
other tables have a partition registered for each hour or day, which is what publishing swaps.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa

from streaming.domain.tables import LANDING, Column, Table
from streaming.edges.parquet import arrow_type, split_fields

# Years that landing may have. A query makes a partition of every hour in them that its WHERE does not rule out.
PROJECTED_YEARS = "2025,2049"

_INPUT = "org.apache.hadoop.mapred.TextInputFormat"
_OUTPUT = "org.apache.hadoop.hive.ql.io.HiveIgnoreKeyTextOutputFormat"
# How files of a format are read: input format, output format, serde and its parameters, parameters of the table.
_FORMATS: dict[str, tuple[str, str, str, dict[str, str], dict[str, str]]] = {
    "parquet": (
        "org.apache.hadoop.hive.ql.io.parquet.MapredParquetInputFormat",
        "org.apache.hadoop.hive.ql.io.parquet.MapredParquetOutputFormat",
        "org.apache.hadoop.hive.ql.io.parquet.serde.ParquetHiveSerDe",
        {"serialization.format": "1"},
        {},
    ),
    # An object in a text column stays the JSON that it is. A line that is no JSON is passed by, as views pass it by.
    "json": (
        _INPUT,
        _OUTPUT,
        "org.openx.data.jsonserde.JsonSerDe",
        {"ignore.malformed.json": "true"},
        {"compressionType": "gzip"},
    ),
    # OpenCSVSerde would take quotes away, but has no types: neither filters nor charts could use its columns. This one
    # misreads text with `|`, `"` or a line break in it, around which quotes stand: an odd user_id costs its own row.
    "csv": (
        _INPUT,
        _OUTPUT,
        "org.apache.hadoop.hive.serde2.lazy.LazySimpleSerDe",
        {"field.delim": "|", "serialization.format": "|", "serialization.null.format": ""},
        {"skip.header.line.count": "1", "delimiter": "|"},
    ),
}
_TYPES = {
    pa.int32(): "int",
    pa.int64(): "bigint",
    pa.float64(): "double",
    pa.bool_(): "boolean",
    pa.date32(): "date",
    pa.string(): "string",
    pa.binary(): "binary",
    pa.timestamp("us"): "timestamp",
}
# Types of SQL, where Hive's name is another.
_SQL_TYPES = {"string": "VARCHAR", "binary": "BLOB"}


def table_input(table: Table, root: str) -> dict[str, Any]:
    """A table of the lake as `TableInput` of Glue's CreateTable and UpdateTable.

    Args:
        root: the lake's address, such as `s3://bucket`.
    """
    input_format, output_format, serde, serde_parameters, parameters = _FORMATS[table.format]
    location = f"{root}/{table.prefix}/"
    return {
        "Name": table.name,
        "Description": table.comment,
        "TableType": "EXTERNAL_TABLE",
        "Parameters": {"EXTERNAL": "TRUE", "classification": table.format}
        | parameters
        | (_projection(location) if table in LANDING else {}),
        "PartitionKeys": [_described(key, hive_type(key.type)) for key in table.partition_columns],
        "StorageDescriptor": {
            "Columns": [_described(column, _column_type(table, column)) for column in table.columns],
            "Location": location,
            "InputFormat": input_format,
            "OutputFormat": output_format,
            "SerdeInfo": {"SerializationLibrary": serde, "Parameters": serde_parameters},
        },
    }


def hive_type(sql: str) -> str:
    """The Hive type of a SQL type: `decimal(18,2)`, `array<struct<event_hour:timestamp,events:bigint>>`.

    Raises:
        KeyError: no such type.
    """
    return _hive_type(arrow_type(sql))


def column_paths(types: Mapping[str, str], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Paths of columns and of what is nested in them, with their SQL types, given Hive's, declared or found."""
    for name, type_ in types.items():
        path, inner = f"{prefix}{name}", type_
        yield path, _sql_type(inner)
        while inner.startswith("array<"):
            path, inner = f"{path}[]", inner[len("array<") : -1]
        if inner.startswith("struct<"):
            members = (member.split(":", 1) for member in split_fields(inner[len("struct<") : -1]))
            yield from column_paths(dict(members), f"{path}.")


def _sql_type(hive: str) -> str:
    if hive.startswith("array<"):
        return f"{_sql_type(hive[len('array<') : -1])}[]"
    return "STRUCT" if hive.startswith("struct<") else _SQL_TYPES.get(hive, hive.upper())


def _hive_type(type_: pa.DataType) -> str:
    if pa.types.is_list(type_):
        return f"array<{_hive_type(type_.value_type)}>"
    if pa.types.is_struct(type_):
        return f"struct<{','.join(f'{field.name}:{_hive_type(field.type)}' for field in type_)}>"
    if pa.types.is_decimal(type_):
        return f"decimal({type_.precision},{type_.scale})"
    return _TYPES[type_]


def _column_type(table: Table, column: Column) -> str:
    """In JSON a moment is text of ISO 8601: one that a reader cannot parse must not cost the query."""
    is_text = table.format == "json" and column.type == "TIMESTAMP"
    return "string" if is_text else hive_type(column.type)


def _described(column: Column, type_: str) -> dict[str, str]:
    return {"Name": column.name, "Type": type_, "Comment": column.comment}


def _projection(location: str) -> dict[str, str]:
    """Partitions of landing by the clock, in digits as Firehose writes them."""
    return {
        "projection.enabled": "true",
        "projection.year.type": "integer",
        "projection.year.range": PROJECTED_YEARS,
        "projection.month.type": "integer",
        "projection.month.range": "1,12",
        "projection.month.digits": "2",
        "projection.day.type": "integer",
        "projection.day.range": "1,31",
        "projection.day.digits": "2",
        "projection.hour.type": "integer",
        "projection.hour.range": "0,23",
        "projection.hour.digits": "2",
        "storage.location.template": f"{location}year=${{year}}/month=${{month}}/day=${{day}}/hour=${{hour}}/",
    }
