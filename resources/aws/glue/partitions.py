"""Where published tables lie on S3, as the Glue Data Catalog says: what publishing swaps, in one request.

A partition's location and its dates stand in its entry together, so readers of the catalog, whichever engine they are,
see the old files or the new ones. A table without partitions has them in its own entry.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any, NamedTuple

from resources.lake import Key
from streaming.domain.tables import Table

_AS_OF, _WRITTEN_AT, _FILE = "as_of", "written_at", "file"
# What a table's entry says that an update of it may not.
_KEPT_BY_GLUE = {
    "DatabaseName", "CreateTime", "UpdateTime", "CreatedBy", "IsRegisteredWithLakeFormation", "CatalogId", "VersionId",
    "IsMultiDialectView", "IsMaterializedView", "IcebergTableMetadata", "Status", "RLSProperties",
}  # fmt: skip
_TRIES = 20
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
            return _published(self._entry(table, key))
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
        """What is published of every table of the database, by the table's address."""
        found: dict[str, list[Published]] = {}
        for page in self._glue.get_paginator("get_tables").paginate(DatabaseName=self.database):
            for entry in page["TableList"]:
                location = entry.get("StorageDescriptor", {}).get("Location", "")
                if not location or "projection.enabled" in entry.get("Parameters", {}):
                    continue
                own = _published(entry)
                if own:
                    found[_PUBLICATION.sub("", location)] = [own]
                else:
                    found[location] = list(self._partitions(entry["Name"]).values())
        return found

    def point(self, table: Table, key: Key, published: Published) -> None:
        """Have a partition be what was written; it is made if there is none.

        Raises:
            CatalogMissingError: the table is not in the catalog.
        """
        if key is None:
            self._point_table(table, published)
            return
        described = self._table(table)["StorageDescriptor"] | {"Location": published.location}
        values = values_of_key(key)
        where = {"DatabaseName": self.database, "TableName": table.name}
        wanted = {"Values": values, "StorageDescriptor": described, "Parameters": _parameters(published)}
        for _ in range(_TRIES):
            try:
                self._glue.update_partition(**where, PartitionValueList=values, PartitionInput=wanted)
            except self._glue.exceptions.EntityNotFoundException:
                try:
                    self._glue.create_partition(**where, PartitionInput=wanted)
                except self._glue.exceptions.AlreadyExistsException:
                    continue  # somebody made it in between, or this did and the answer was lost
            return
        raise RuntimeError(f"the partition {'/'.join(values)} of {table.name} comes and goes")

    def _partitions(self, table: str) -> dict[Key, Published]:
        pages = self._glue.get_paginator("get_partitions").paginate(
            DatabaseName=self.database, TableName=table, ExcludeColumnSchema=True
        )
        entries = (entry for page in pages for entry in page["Partitions"])
        every = {key_of_values(entry["Values"]): _published(entry) for entry in entries}
        return {key: published for key, published in every.items() if published}

    def _point_table(self, table: Table, published: Published) -> None:
        for _ in range(_TRIES):
            entry = self._table(table)
            wanted: dict[str, Any] = {name: value for name, value in entry.items() if name not in _KEPT_BY_GLUE}
            wanted["StorageDescriptor"] = entry["StorageDescriptor"] | {"Location": published.location}
            wanted["Parameters"] = entry.get("Parameters", {}) | _parameters(published)
            version = {"VersionId": entry["VersionId"]} if "VersionId" in entry else {}
            try:
                self._glue.update_table(DatabaseName=self.database, TableInput=wanted, SkipArchive=True, **version)
            except self._glue.exceptions.ConcurrentModificationException:
                continue  # its columns were brought up meanwhile
            return
        raise RuntimeError(f"the table {table.name} is modified all the time")

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


def _published(entry: Mapping[str, Any]) -> Published | None:
    told = entry.get("Parameters", {})
    if _FILE not in told:
        return None
    return Published(entry["StorageDescriptor"]["Location"], told[_FILE], int(told[_AS_OF]), int(told[_WRITTEN_AT]))


def _parameters(published: Published) -> dict[str, str]:
    return {_FILE: published.file, _AS_OF: str(published.as_of), _WRITTEN_AT: str(published.written_at)}
