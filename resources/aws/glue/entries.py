"""Entries of the Glue Data Catalog that several write at once: none undoes what another wrote, or fails for it.

Who is slower, or whose answer was lost, reads the entry again and changes that.
"""

from collections.abc import Callable
from typing import Any

# `TableInput` or `PartitionInput` of Glue.
Input = dict[str, Any]
# What to write, given what is there.
Change = Callable[[Input | None], Input]

_TRIES = 20
# What a table's entry says that an update of it may not.
_KEPT_BY_GLUE = {
    "DatabaseName", "CreateTime", "UpdateTime", "CreatedBy", "IsRegisteredWithLakeFormation", "CatalogId", "VersionId",
    "IsMultiDialectView", "IsMaterializedView", "IcebergTableMetadata", "Status", "RLSProperties",
}  # fmt: skip
_OF_PARTITIONS = ("Values", "StorageDescriptor", "Parameters")


def write_table(glue: Any, database: str, name: str, change: Change) -> Input | None:
    """Make or update a table; returns what it was."""
    version: dict[str, str] = {}

    def read() -> Input:
        entry = glue.get_table(DatabaseName=database, Name=name)["Table"]
        version.update({"VersionId": entry["VersionId"]} if "VersionId" in entry else {})
        return {field: value for field, value in entry.items() if field not in _KEPT_BY_GLUE}

    def make(wanted: Input) -> None:
        glue.create_table(DatabaseName=database, TableInput=wanted)

    def update(wanted: Input) -> None:
        glue.update_table(DatabaseName=database, TableInput=wanted, SkipArchive=True, **version)

    return _write(glue, name, read, change, make, update)


def write_partition(glue: Any, database: str, table: str, values: list[str], change: Change) -> Input | None:
    """Make or update a partition; returns what it was. Glue has no versions of partitions: the last who writes wins."""
    where = {"DatabaseName": database, "TableName": table}

    def read() -> Input:
        entry = glue.get_partition(**where, PartitionValues=values)["Partition"]
        return {field: entry[field] for field in _OF_PARTITIONS if field in entry}

    def make(wanted: Input) -> None:
        glue.create_partition(**where, PartitionInput=wanted)

    def update(wanted: Input) -> None:
        glue.update_partition(**where, PartitionValueList=values, PartitionInput=wanted)

    return _write(glue, f"{table}/{'/'.join(values)}", read, change, make, update)


def _write(
    glue: Any,
    name: str,
    read: Callable[[], Input],
    change: Change,
    make: Callable[[Input], None],
    update: Callable[[Input], None],
) -> Input | None:
    outrun = glue.exceptions.AlreadyExistsException, glue.exceptions.ConcurrentModificationException
    first = entry = _found(glue, read)
    for _ in range(_TRIES):
        write = make if entry is None else update
        try:
            write(change(entry))
        except outrun:
            entry = _found(glue, read)
        else:
            return first
    raise RuntimeError(f"the entry {name} of the Glue Data Catalog is modified all the time")


def _found(glue: Any, read: Callable[[], Input]) -> Input | None:
    try:
        return read()
    except glue.exceptions.EntityNotFoundException:
        return None
