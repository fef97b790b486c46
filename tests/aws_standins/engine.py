"""What both engines are made of: SELECTs of their dialect, run by DuckDB over the Glue catalog's tables on S3."""

import io
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import boto3
import duckdb
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
from sqlglot import exp

from tests.aws_standins.statements import EngineError, Rows

_TYPES = {
    "int": pa.int32(),
    "bigint": pa.int64(),
    "double": pa.float64(),
    "boolean": pa.bool_(),
    "date": pa.date32(),
    "string": pa.string(),
    "binary": pa.binary(),
    "timestamp": pa.timestamp("us"),
}


class Scan(NamedTuple):
    """What was read of a table: the values of its partitions, and how many bytes of files."""

    table: str
    partitions: list[tuple[str, ...]]
    bytes: int


class Partition(NamedTuple):
    """A part of a table: the values of its keys, and where its files are."""

    values: tuple[str, ...]
    location: str


class GlueTables:
    """The tables of the Glue Data Catalog, as engines read them. `scans`: what was read, in order."""

    def __init__(self) -> None:
        self.scans: list[Scan] = []
        self._glue, self._s3 = boto3.client("glue"), boto3.client("s3")

    def rows(self, database: str, name: str, conditions: Sequence[exp.Expression]) -> pa.Table:
        """A table's rows, of the partitions that meet conditions on the columns that partition it."""
        try:
            table = self._glue.get_table(DatabaseName=database, Name=name)["Table"]
        except self._glue.exceptions.EntityNotFoundException:
            raise EngineError(f'relation "{database}.{name}" does not exist') from None
        if table.get("Parameters", {}).get("projection.enabled") == "true":
            raise EngineError(f"{name} has projected partitions, which are not stood in for")
        keys = [(key["Name"], _TYPES[key["Type"]]) for key in table.get("PartitionKeys", [])]
        described = ((each["Name"], _type(each["Type"])) for each in table["StorageDescriptor"]["Columns"])
        columns = [(name, type_) for name, type_ in described if type_]  # arrays and structs are left out
        schema = pa.schema([*columns, *keys])
        parts, scanned = [], 0
        partitions = list(self._partitions(table, keys, conditions))
        for partition in partitions:
            for content in self._files(partition.location):
                scanned += len(content)
                part = _read(content, pa.schema(columns), table["StorageDescriptor"])
                for (key, type_), value in zip(keys, partition.values, strict=True):
                    part = part.append_column(key, pa.array([value] * len(part)).cast(type_))
                parts.append(part)
        self.scans.append(Scan(name, [partition.values for partition in partitions], scanned))
        return pa.concat_tables(parts) if parts else schema.empty_table()

    def _partitions(
        self, table: Any, keys: Sequence[tuple[str, pa.DataType]], conditions: Sequence[exp.Expression]
    ) -> Iterator[Partition]:
        if not keys:
            yield Partition((), table["StorageDescriptor"]["Location"])
            return
        pages = self._glue.get_paginator("get_partitions").paginate(
            DatabaseName=table["DatabaseName"], TableName=table["Name"]
        )
        every = [
            Partition(tuple(each["Values"]), each["StorageDescriptor"]["Location"])
            for page in pages
            for each in page["Partitions"]
        ]
        if not every:
            return
        values = zip(*(partition.values for partition in every), strict=True)
        listed = pa.table(
            [pa.array(column).cast(type_) for column, (_, type_) in zip(values, keys, strict=True)],
            [name for name, _ in keys],
        ).append_column("at", pa.array(range(len(every))))
        with duckdb.connect() as connection:
            connection.register("listed", listed)
            for condition in conditions:
                unqualified = condition.transform(
                    lambda node: exp.column(node.name) if isinstance(node, exp.Column) else node
                )
                listed = connection.sql(f"SELECT * FROM listed WHERE {unqualified.sql('duckdb')}").to_arrow_table()
                connection.register("listed", listed)
        yield from (every[place] for place in sorted(listed["at"].to_pylist()))

    def _files(self, location: str) -> Iterator[bytes]:
        bucket, _, prefix = location.removeprefix("s3://").partition("/")
        folder = prefix.rstrip("/") + "/"
        pages = self._s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=folder)
        for each in (each for page in pages for each in page.get("Contents", [])):
            if not each["Key"].rpartition("/")[2].startswith((".", "_")):
                yield self._s3.get_object(Bucket=bucket, Key=each["Key"])["Body"].read()


def run(select: exp.Expression, find: Callable[[exp.Table], pa.Table | None], functions: Sequence[str] = ()) -> Rows:
    """Run a SELECT.

    Args:
        find: the rows of a table that it names; None where that is none of the engine's.
        functions: what it may call beside what all engines know.

    Raises:
        EngineError: it is no SELECT, or calls a function that is not known.
    """
    if not isinstance(select, exp.Select):
        raise EngineError(f"syntax error: {select.sql()[:80]} is no SELECT")
    for call in select.find_all(exp.Anonymous):
        if call.name not in functions:
            raise EngineError(f"function {call.name} does not exist")
    select = select.copy()
    with duckdb.connect(config={"preserve_insertion_order": False}) as connection:
        for place, table in enumerate(list(select.find_all(exp.Table))):
            rows = find(table)
            if rows is not None:
                name = f"read_{place}"
                connection.register(name, rows)
                table.replace(exp.to_table(name).as_(table.alias_or_name))
        answer = connection.execute(select.sql("duckdb"))
        return Rows([column[0] for column in answer.description], answer.fetchall())


def partition_conditions(
    table: exp.Table, keys: Sequence[str] = ("year", "month", "day", "hour", "date")
) -> list[exp.Expression]:
    """What the WHERE around a table asks of the columns that partition it, and nothing else."""
    where = table.parent_select.args.get("where")
    alias = table.alias_or_name
    return [
        each
        for each in (_conjuncts(where.this) if where else ())
        if (columns := list(each.find_all(exp.Column)))
        and all(column.table == alias and column.name in keys for column in columns)
    ]


def _conjuncts(condition: exp.Expression) -> Iterator[exp.Expression]:
    condition = condition.unnest()
    if isinstance(condition, exp.And):
        yield from _conjuncts(condition.left)
        yield from _conjuncts(condition.right)
    else:
        yield condition


def _type(hive: str) -> pa.DataType | None:
    found = re.fullmatch(r"decimal\((\d+),(\d+)\)", hive)
    return pa.decimal128(int(found[1]), int(found[2])) if found else _TYPES.get(hive)


def _read(content: bytes, schema: pa.Schema, storage: Any) -> pa.Table:
    library = storage["SerdeInfo"]["SerializationLibrary"]
    if library.endswith("ParquetHiveSerDe"):
        found = pq.read_table(io.BytesIO(content), partitioning=None)
        return pa.table(
            [
                found[name].cast(type_) if name in found.column_names else pa.nulls(len(found), type_)
                for name, type_ in zip(schema.names, schema.types, strict=True)
            ],
            schema=schema,
        )
    if library.endswith("LazySimpleSerDe"):  # knows no quotes, and takes nothing for null
        return pacsv.read_csv(
            io.BytesIO(content),
            pacsv.ReadOptions(column_names=schema.names, skip_rows=1),
            pacsv.ParseOptions(delimiter="|", quote_char=False),
            pacsv.ConvertOptions(column_types=schema, null_values=[""], strings_can_be_null=True),
        )
    raise EngineError(f"{library} is not stood in for")
