"""How a table's files are read: one SELECT of the declared columns, whatever single files are like.

Parquet is read by the declared schema, so no file's footer decides for the others: a column that a file lacks is null,
one that it has besides is passed by, and another type is cast. CSV is read by position and JSON strictly, which is
fast. Files that would fail that way, or mislead, are named by the crawler and read apart: as text, which is cast, and
what does not cast is null; unreadable ones not at all. Conditions on the path are judged before any file is opened.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from resources.file_schemas import CSV_FORM
from resources.warehouse import quoted, unloaded_text
from streaming.domain.layout import PARTITION_FOLDERS, folder_patterns
from streaming.domain.tables import Column, Table

# Files to read apart, and by which columns: those of other types, or the header of a CSV file. None: unreadable.
Apart = Mapping[str, Sequence[str] | None]


class _Way(NamedTuple):
    """A table function with its options, and an expression for each column of the table."""

    function: str
    options: str
    columns: Sequence[str]


def select_rows(table: Table, keys: Sequence[Column], folder: str, apart: Apart) -> str:
    """The rows of the files in a table's folder: its columns, `keys` of the partition, and `filename`."""
    by_columns: dict[tuple[str, ...], list[str]] = {}
    for file, columns in apart.items():
        if columns is not None:
            by_columns.setdefault(tuple(columns), []).append(file)
    others = f" WHERE NOT {_is_one_of(apart)}" if apart else ""
    parts = [_select(table, keys, folder, None) + others]
    for columns, files in by_columns.items():
        parts.append(f"{_select(table, keys, folder, columns)} WHERE {_is_one_of(files)}")
    return " UNION ALL ".join(parts)


def _select(table: Table, keys: Sequence[Column], folder: str, apart: Sequence[str] | None) -> str:
    ways = {"parquet": _by_schema, "csv": _by_position if apart is None else _by_header, "json": _by_name}
    way = ways[table.format](table, apart)
    pattern = "/".join((folder, *folder_patterns(table), "[!.]*"))
    selected = ", ".join([*way.columns, *_from_path(table, keys, folder), "filename"])
    options = f"{way.options}, filename = true, hive_partitioning = false"
    return f"SELECT {selected} FROM {way.function}({quoted(pattern)}, {options})"  # noqa: S608  declared names only


def _by_schema(table: Table, retyped: Sequence[str] | None) -> _Way:
    types = {each.name: "VARCHAR" if each.name in (retyped or ()) else each.type for each in table.columns}
    schema = ", ".join(
        f"{quoted(name)}: {{name: {quoted(name)}, type: {quoted(type_)}, default_value: NULL}}"
        for name, type_ in types.items()
    )
    columns = [_plain(each) if types[each.name] == each.type else _cast(each) for each in table.columns]
    return _Way("read_parquet", f"schema = MAP {{{schema}}}", columns)


def _by_position(table: Table, _: Sequence[str] | None) -> _Way:
    types = {each.name: each.type for each in table.columns}
    columns = [unloaded_text(each.name) if each.type == "VARCHAR" else _plain(each) for each in table.columns]
    return _Way("read_csv", f"{CSV_FORM}, columns = {_struct(types)}", columns)


def _by_header(table: Table, header: Sequence[str] | None) -> _Way:
    types = dict.fromkeys(header or (), "VARCHAR")
    there = [unloaded_text(each.name) if each.type == "VARCHAR" else _cast(each) for each in table.columns]
    columns = [
        there[place] if each.name in types else f'CAST(NULL AS {each.type}) AS "{each.name}"'
        for place, each in enumerate(table.columns)
    ]
    return _Way("read_csv", f"{CSV_FORM}, columns = {_struct(types)}", columns)


def _by_name(table: Table, apart: Sequence[str] | None) -> _Way:
    types = _struct({each.name: each.type for each in table.columns})
    options = f"format = 'newline_delimited', columns = {types}, ignore_errors = {apart is not None}"
    return _Way("read_json", options, [_plain(each) for each in table.columns])


def _plain(column: Column) -> str:
    return f'"{column.name}"'


def _cast(column: Column) -> str:
    return f'TRY_CAST("{column.name}" AS {column.type}) AS "{column.name}"'


def _from_path(table: Table, keys: Sequence[Column], folder: str) -> Iterator[str]:
    """The values of the partition's columns. They stand where they stand in every path: finding them takes longer."""
    start = len(folder) + 1
    for key, name in zip(keys, PARTITION_FOLDERS[table.partition], strict=True):
        digits = len(name) - len(key.name) - 1
        place = start + len(name) - digits + 1
        yield f'CAST(substr(filename, {place}, {digits}) AS {key.type}) AS "{key.name}"'
        start += len(name) + 1


def _struct(types: Mapping[str, str]) -> str:
    return f"{{{', '.join(f'{quoted(name)}: {quoted(type_)}' for name, type_ in types.items())}}}"


def _is_one_of(files: Iterable[str]) -> str:
    return f"list_contains([{', '.join(map(quoted, files))}], filename)"  # IN takes ten times as long
