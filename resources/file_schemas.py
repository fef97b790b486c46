"""The schema that files of the lake have, against the declared one: Parquet by its footer, CSV by header and values,
JSON by the head of the file, shown to classifiers.
"""

import csv
import gzip
import hashlib
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from resources.warehouse import connect, quoted
from streaming.domain.classifiers import ENVELOPED_EVENT, classifiers_of, classify
from streaming.domain.schema_drift import Difference, DriftKind, Schema, differences
from streaming.domain.tables import Table
from streaming.edges.ingestion_api import load_openapi
from streaming.edges.parquet import arrow_schema

CSV_FORM = "auto_detect = false, delim = '|', quote = '\"', escape = '\"', header = true, allow_quoted_nulls = false"

# What is read of a JSON file: its first lines, up to so many of them and so many bytes.
SAMPLE_LINES = 250
SAMPLE_BYTES = 1_000_000
# Clients send all kinds of things now and then, and what breaks the contract is a failed event, told as such.
LEAST_SHARE = 0.01

_LONGEST_TEXT = 80
_MOST_DIFFERENCES = 100
_decode = msgspec.json.Decoder().decode

_SQL_TYPES = {
    pa.int8(): "TINYINT",
    pa.int16(): "SMALLINT",
    pa.int32(): "INT",
    pa.int64(): "BIGINT",
    pa.float32(): "FLOAT",
    pa.float64(): "DOUBLE",
    pa.bool_(): "BOOLEAN",
    pa.date32(): "DATE",
    pa.string(): "VARCHAR",
    pa.large_string(): "VARCHAR",
    pa.binary(): "BLOB",
    pa.large_binary(): "BLOB",
    pa.timestamp("s"): "TIMESTAMP_S",
    pa.timestamp("ms"): "TIMESTAMP_MS",
    pa.timestamp("us"): "TIMESTAMP",
    pa.timestamp("ns"): "TIMESTAMP_NS",
}
_JSON_TYPES = {bool: "boolean", int: "integer", str: "string", list: "array", dict: "object"}
_JSON_OF_SQL = {"VARCHAR": "string", "TIMESTAMP": "timestamp", "BIGINT": "integer", "JSON": "object"}


class Inspected(NamedTuple):
    """How a file differs, and how a view must read it if not with the others.

    `columns` are those to read as text and cast one by one; of a CSV file, its header. None: as all others.
    """

    differences: Sequence[Difference] = ()
    columns: Sequence[str] | None = None
    is_readable: bool = True


AS_DECLARED = Inspected()


def declaration(table: Table) -> str:
    """What files of a table are compared with; another one means that they are to be looked at again."""
    declared = declared_json(table) if table.format == "json" else {each.name: each.type for each in table.columns}
    described = repr((table.prefix, table.format, table.partition, list(declared.items())))
    return hashlib.sha256(described.encode()).hexdigest()[:16]


def inspect(table: Table, files: Sequence[Path]) -> Iterator[tuple[Path, Inspected]]:
    """What each file of a table is like; a file that is gone is passed by."""
    if table.format == "csv":
        yield from _inspect_unloaded(table, files)
        return
    one = _inspect_parquet if table.format == "parquet" else _inspect_json
    for file in files:
        try:
            yield file, one(table, file)
        except FileNotFoundError:
            continue
        except (OSError, EOFError, zlib.error, pa.ArrowException) as error:
            yield file, _unreadable(str(error))


def _unreadable(reason: str) -> Inspected:
    return Inspected([Difference(DriftKind.UNREADABLE, "", "", _cut(reason))], is_readable=False)


def _inspect_parquet(table: Table, file: Path) -> Inspected:
    declared, found = arrow_schema(table), pq.read_schema(file)
    if found.equals(declared):
        return AS_DECLARED
    told = list(differences(dict(_nodes(declared)), dict(_nodes(found))))
    retyped = {_column_of(each.column) for each in told if each.kind is DriftKind.CHANGED_TYPE and each.is_error}
    return Inspected(told, sorted(retyped) or None)


def _nodes(fields: Iterable[pa.Field], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Paths and types of columns and of what is nested in them."""
    for field in fields:
        path, inner = f"{prefix}{field.name}", field.type
        yield path, _sql_type(inner)
        while pa.types.is_list(inner):
            path, inner = f"{path}[]", inner.value_type
        if pa.types.is_struct(inner):
            yield from _nodes(inner, f"{path}.")


def _sql_type(type_: pa.DataType) -> str:
    if pa.types.is_list(type_):
        return f"{_sql_type(type_.value_type)}[]"
    if pa.types.is_struct(type_):
        return "STRUCT"
    if pa.types.is_decimal(type_):
        return f"DECIMAL({type_.precision},{type_.scale})"
    if pa.types.is_timestamp(type_) and type_.tz:
        return "TIMESTAMP WITH TIME ZONE"
    return _SQL_TYPES.get(type_, str(type_).upper())


def _column_of(path: str) -> str:
    return path.split(".", maxsplit=1)[0].removesuffix("[]")


def _inspect_unloaded(table: Table, files: Sequence[Path]) -> Iterator[tuple[Path, Inspected]]:
    by_header: dict[tuple[str, ...], list[Path]] = {}
    for file in files:
        try:
            by_header.setdefault(_header(file), []).append(file)
        except FileNotFoundError:
            continue
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            yield file, _unreadable(str(error))
    for header, alike in by_header.items():
        if header and len(set(header)) == len(header):
            yield from _inspect_values(table, header, alike)
        else:
            reason = "a column stands twice in the header" if header else "there is no header"
            yield from ((file, _unreadable(reason)) for file in alike)


def _header(file: Path) -> tuple[str, ...]:
    with file.open(newline="") as lines:
        return tuple(next(csv.reader(lines, delimiter="|"), ()))


def _inspect_values(table: Table, header: tuple[str, ...], files: Sequence[Path]) -> Iterator[tuple[Path, Inspected]]:
    """Files of one header: which of their columns are named otherwise, and which hold values that are no such type."""
    declared = {column.name: column.type for column in table.columns}
    found = {name: declared.get(name, "VARCHAR") for name in header}
    named = list(differences(declared, found))
    apart = None if header == table.column_names else header
    try:
        _query(f"SELECT {', '.join(f'COUNT({_identifier(name)})' for name in found)}", found, files)
        yield from ((file, Inspected(named, apart)) for file in files)
    except duckdb.Error:
        if len(files) == 1:
            yield files[0], _with_odd_values(found, named, files[0])
            return
        middle = len(files) // 2
        yield from _inspect_values(table, header, files[:middle])
        yield from _inspect_values(table, header, files[middle:])


def _with_odd_values(types: Schema, named: Sequence[Difference], file: Path) -> Inspected:
    """A file that does not read as these types: the columns whose values are no such type, with one of them each."""
    odd = ", ".join(
        f"any_value({name}) FILTER (TRY_CAST({name} AS {type_}) IS NULL)"
        for name, type_ in zip(map(_identifier, types), types.values(), strict=True)
    )
    try:
        ((*values,),) = _query(f"SELECT {odd}", dict.fromkeys(types, "VARCHAR"), [file])
    except duckdb.Error as error:
        return _unreadable(str(error))
    retyped = [
        Difference(DriftKind.CHANGED_TYPE, name, type_, f"text such as {_cut(value)!r}")
        for (name, type_), value in zip(types.items(), values, strict=True)
        if value is not None
    ]
    return Inspected([*named, *retyped], list(types))


def _query(select: str, types: Schema, files: Sequence[Path]) -> list[Any]:
    columns = ", ".join(f"{quoted(name)}: {quoted(type_)}" for name, type_ in types.items())
    paths = ", ".join(quoted(str(file)) for file in files)
    reader = f"read_csv([{paths}], columns = {{{columns}}}, {CSV_FORM}, hive_partitioning = false)"
    with connect(config={"threads": 1, "memory_limit": "200MB"}) as connection:
        return connection.execute(f"{select} FROM {reader}").fetchall()


def _identifier(name: str) -> str:
    """A name of SQL, whatever a header says."""
    return '"' + name.replace('"', '""') + '"'


def _inspect_json(table: Table, file: Path) -> Inspected:
    declared = declared_json(table)
    seen: Counter[tuple[str, str]] = Counter()
    lines = unrecognised = broken = 0
    for lines, line in enumerate(_sample(file), start=1):
        try:
            value = _decode(line)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            broken = broken or lines
            continue
        classifier = classify(value, classifiers_of(table))
        if classifier is None:
            unrecognised = unrecognised or lines
        else:
            seen.update(set(_json_nodes(value, declared)))
    told = ((json_difference(node, declared), count) for node, count in seen.items())
    found = [each for each, count in told if each and (each.is_error or count >= lines * LEAST_SHARE)]
    found = sorted(found, key=lambda each: not each.is_error)[:_MOST_DIFFERENCES]
    if unrecognised:
        found.append(Difference(DriftKind.UNRECOGNISED, "", "", f"line {unrecognised} is known to no classifier"))
    if broken:
        found.append(Difference(DriftKind.UNREADABLE, "", "", f"line {broken} is no JSON"))
    # A line that DuckDB cannot convert costs the table where it is read strictly, and itself where it is read apart.
    is_odd = any(each.is_error for each in found)
    return Inspected(found, () if is_odd else None)


def _sample(file: Path) -> Iterator[bytes]:
    size = 0
    with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as lines:
        for _ in range(SAMPLE_LINES):
            line = lines.readline(SAMPLE_BYTES - size)
            size += len(line)
            if size >= SAMPLE_BYTES or not line:
                return  # the last one may be cut
            yield line


@cache
def declared_json(table: Table) -> Schema:
    """Paths and JSON types: the table's columns, and in raw events the keys of the event that the contract names.

    A text that must be a moment has the type `timestamp`; what a client sends as one is the contract's to judge.
    """
    declared = {column.name: _JSON_OF_SQL.get(column.type, "number") for column in table.columns}
    if ENVELOPED_EVENT in classifiers_of(table):
        event = load_openapi()["components"]["schemas"]["Event"]
        declared |= dict(_contract_nodes(event, f"{ENVELOPED_EVENT.member}."))
    return declared


def _contract_nodes(schema: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, str]]:
    for name, member in schema["properties"].items():
        types = [member["type"]] if isinstance(member["type"], str) else member["type"]
        yield f"{prefix}{name}", next(type_ for type_ in types if type_ != "null")
        if "properties" in member:
            yield from _contract_nodes(member, f"{prefix}{name}.")


def _json_nodes(value: Mapping[str, Any], declared: Schema, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Paths and types of members, also of objects whose members are declared; null says nothing of a type."""
    for name, member in value.items():
        if member is None:
            continue
        path = f"{prefix}{name}"
        if path not in declared:
            path = _cut(path)
        expected = declared.get(path)
        yield path, "timestamp" if expected == "timestamp" and _is_moment(member) else _json_type(member)
        if isinstance(member, dict) and expected == "object":
            yield from _json_nodes(member, declared, f"{path}.")


def _is_moment(value: Any) -> bool:
    try:
        return bool(datetime.fromisoformat(value))
    except (TypeError, ValueError):
        return False


def _json_type(value: Any) -> str:
    if isinstance(value, float):
        return "integer" if value.is_integer() else "number"
    return _JSON_TYPES[type(value)]


def json_difference(node: tuple[str, str], declared: Schema) -> Difference | None:
    """How a path with the JSON type it was found with differs from `declared_json`; None where it does not."""
    path, found = node
    if path not in declared:
        return Difference(DriftKind.NEW_COLUMN, path, "", found, is_error=False)
    if found == declared[path] or (found, declared[path]) == ("integer", "number"):
        return None
    # Whatever a client sends is JSON: its column takes it, and the contract judges it.
    is_sent = "." in path or declared[path] == "object"
    return Difference(DriftKind.CHANGED_TYPE, path, declared[path], found, is_error=not is_sent)


def _cut(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST_TEXT else f"{line[:_LONGEST_TEXT]}…"
