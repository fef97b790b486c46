"""Where published tables lie on S3, as the Glue Data Catalog says: what publishing swaps, in one request.

A partition's location and its dates stand in its entry together, so readers of the catalog, whichever engine they are,
see the old files or the new ones. A table without partitions has them in its own entry.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any, NamedTuple

from resources.aws.glue.entries import Change, Input, write_partition, write_table
from resources.lake import Key
from streaming.domain.tables import Table

_TOLD = _AS_OF, _WRITTEN_AT, _FILE = "as_of", "written_at", "file"
# The folder that a publication adds to the address of a table without partitions.
_PUBLICATION = re.compile(r"[0-9a-f]{32}/$")


class CatalogMissingError(LookupError):
    """Glue has no entry for a table; the message says what makes one."""


class Published(NamedTuple):
    """A partition in place: its folder (`s3://bucket/…/`) and file; what it is dated by, and since when it is there.

    Dates are nanoseconds since 1970.
    """

    location: str
    file: str
    as_of: int
    written_at: int


class GluePartitions:
    """The partitions of a database."""

    def __init__(self, database: str, glue: Any) -> None:
        self.database = database
        self._glue = glue

    def find(self, table: Table, key: Key) -> Published | None:
        """A partition as it is now; None where nothing was published."""
        try:
            return published_of(self._entry(table, key))
        except self._glue.exceptions.EntityNotFoundException:
            return None

    def all(self, table: Table) -> dict[Key, Published]:
        """All partitions of a table, in few requests."""
        if table.partition is None:
            found = self.find(table, None)
            return {None: found} if found else {}
        try:
            return self._partitions(table.name)
        except self._glue.exceptions.EntityNotFoundException:
            return {}

    def at_once(self) -> "GluePartitions":
        """The same, to be asked about one moment."""
        return GluePartitionsAtOnce(self.database, self._glue)

    def everything(self) -> dict[str, list[Published]]:
        """What is published of every table that has partitions in place, by the table's address."""
        found: dict[str, list[Published]] = {}
        for page in self._glue.get_paginator("get_tables").paginate(DatabaseName=self.database):
            for entry in page["TableList"]:
                if published := self._in_place(entry):
                    found[_PUBLICATION.sub("", entry["StorageDescriptor"]["Location"])] = published
        return found

    def point(self, table: Table, key: Key, published: Published) -> Input | None:
        """Have a partition be what was written; it is made if there is none. Returns its entry as it was.

        Raises:
            CatalogMissingError: the table is not in the catalog.
        """
        if key is None:
            return self._write(table, key, lambda entry: _pointed(entry or self._table(table), published))
        entry = {"Values": values_of_key(key), "StorageDescriptor": self._table(table)["StorageDescriptor"]}
        return self._write(table, key, lambda _: _pointed(entry, published))

    def put_back(self, table: Table, key: Key, before: Input | None) -> None:
        """Have a partition be what its entry said before; None: have it be none of publishing's."""
        self._write(table, key, lambda entry: before or {**(entry or {}), "Parameters": _of_others(entry or {})})

    def _in_place(self, entry: Mapping[str, Any]) -> list[Published]:
        if own := published_of(entry):
            return [own]
        is_registered = entry.get("PartitionKeys") and "projection.enabled" not in entry.get("Parameters", {})
        return list(self._partitions(entry["Name"]).values()) if is_registered else []

    def _partitions(self, table: str) -> dict[Key, Published]:
        """The partitions that publishing made; others have made theirs of whatever columns they like."""
        pages = self._glue.get_paginator("get_partitions").paginate(
            DatabaseName=self.database, TableName=table, ExcludeColumnSchema=True
        )
        entries = (entry for page in pages for entry in page["Partitions"])
        return {key_of_values(entry["Values"]): each for entry in entries if (each := published_of(entry))}

    def _write(self, table: Table, key: Key, change: Change) -> Input | None:
        if key is None:
            return write_table(self._glue, self.database, table.name, change)
        return write_partition(self._glue, self.database, table.name, values_of_key(key), change)

    def _entry(self, table: Table, key: Key) -> Mapping[str, Any]:
        where = {"DatabaseName": self.database}
        if key is None:
            entry: Mapping[str, Any] = self._glue.get_table(**where, Name=table.name)["Table"]
        else:
            entry = self._glue.get_partition(**where, TableName=table.name, PartitionValues=values_of_key(key))[
                "Partition"
            ]
        return entry

    def _table(self, table: Table) -> Mapping[str, Any]:
        try:
            return self._entry(table, None)
        except self._glue.exceptions.EntityNotFoundException as error:
            raise CatalogMissingError(
                f"the Glue Data Catalog has no table {self.database}.{table.name}: "
                "materialize the asset `catalog`, which makes it"
            ) from error


class GluePartitionsAtOnce(GluePartitions):
    """The partitions as they were when their table was asked for first."""

    def __init__(self, database: str, glue: Any) -> None:
        super().__init__(database, glue)
        self._seen: dict[str, dict[Key, Published]] = {}

    def at_once(self) -> GluePartitions:
        return self

    def find(self, table: Table, key: Key) -> Published | None:
        return super().find(table, key) if key is None else self.all(table).get(key)

    def all(self, table: Table) -> dict[Key, Published]:
        if table.name not in self._seen:
            self._seen[table.name] = super().all(table)
        return self._seen[table.name]


def values_of_key(key: datetime | date) -> list[str]:
    """The values of a partition's columns: `2026`, `11`, `23`, `04`; or `2026-11-23`."""
    if isinstance(key, datetime):
        return f"{key.astimezone(UTC):%Y/%m/%d/%H}".split("/")
    return [key.isoformat()]


def key_of_values(values: Sequence[str]) -> datetime | date:
    """The hour or the day that a partition's values say."""
    if len(values) == 1:
        return date.fromisoformat(values[0])
    year, month, day, hour = map(int, values)
    return datetime(year, month, day, hour, tzinfo=UTC)


def published_of(entry: Mapping[str, Any]) -> Published | None:
    """What an entry says that publishing put in place; None where it is not publishing's."""
    told = entry.get("Parameters", {})
    if _FILE not in told:
        return None
    return Published(entry["StorageDescriptor"]["Location"], told[_FILE], int(told[_AS_OF]), int(told[_WRITTEN_AT]))


def _pointed(entry: Mapping[str, Any], published: Published) -> Input:
    described = entry["StorageDescriptor"] | {"Location": published.location}
    return {**entry, "StorageDescriptor": described, "Parameters": _of_others(entry) | _parameters(published)}


def _of_others(entry: Mapping[str, Any]) -> dict[str, str]:
    return {name: value for name, value in entry.get("Parameters", {}).items() if name not in _TOLD}


def _parameters(published: Published) -> dict[str, str]:
    return {_FILE: published.file, _AS_OF: str(published.as_of), _WRITTEN_AT: str(published.written_at)}
