"""The lake as the writer of its tables sees it: landing files in, partitions out, each published in one step.

What is landed is addressed by prefix and hour of arrival; what is published by table and key: the hour or day of
the partition, None where the table has only one.
"""

import os
import shutil
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple, Protocol

import dagster as dg

from streaming.domain.layout import FAILED_PREFIX, day_prefix, failed_prefix, hour_prefix
from streaming.domain.tables import Table
from streaming.edges.lake import LocalLake, replaced

_FETCHED_AT_ONCE = 16

Key = datetime | date | None


class File(Protocol):
    """A file of the lake. `os.fspath` gives its path on this machine, fetching it first where the lake is elsewhere.

    The path holds as long as the file, or what `os.fspath` gave, is referred to.
    """

    @property
    def name(self) -> str: ...

    def __fspath__(self) -> str: ...


@dataclass(frozen=True)
class Staged:
    """Where to write a partition: the path on this machine; or, for an engine that writes to the lake itself, the
    prefix (`s3://bucket/…/`), where there is one."""

    path: Path
    prefix: str | None = None

    @property
    def name(self) -> str:
        return self.path.name

    def __fspath__(self) -> str:
        return str(self.path)


class Swept(NamedTuple):
    """What a sweep removed, and how many bytes that freed."""

    paths: list[str]
    bytes: int


class Lake(Protocol):
    """Landing files and published tables. Moments are nanoseconds since 1970, 0 where there is nothing; hours are UTC.

    Dates of what was landed, and those that partitions are dated by, are compared for equality alone: they come from
    other clocks.
    """

    def landed_hours(self, prefix: str) -> list[datetime]:
        """The hours of arrival that may have files, oldest first."""

    def list_hour(self, prefix: str, hour: datetime) -> Sequence[File]:
        """The files of an hour of arrival, sorted by name."""

    def landed_bytes(self, prefix: str, hour: datetime) -> int:
        """The size of the files of an hour of arrival as they lie in the lake: one of several hours counts in each."""

    def changed_at(self, prefixes: Sequence[str], hour: datetime) -> int:
        """A date of all that came to an hour of arrival under these prefixes: another one whenever more comes."""

    def failed_prefixes(self) -> list[str]:
        """Where the stages record failures: `failed/enrichment`, ..."""

    def exists(self, relative: str) -> bool:
        """Whether there is a file of this name."""

    def read(self, relative: str) -> bytes | None:
        """The content of a small file; None where there is none."""

    def dated(self, relative: str) -> int:
        """What a file is dated by."""

    def publish(self, relative: str, data: bytes, as_of: int | None = None) -> None:
        """Write a small file so that readers see its old content or its new one.

        Args:
            as_of: what to date it by.
        """

    def hours(self, table: Table) -> list[datetime]:
        """The hours of a table that are published, oldest first."""

    def days(self, table: Table) -> list[date]:
        """The days of a table that are published, oldest first."""

    def partition(self, table: Table, key: Key) -> File | None:
        """The one file of a table's partition; None before it is written."""

    def as_of(self, table: Table, key: Key) -> int:
        """What a partition is dated by."""

    def written_at(self, table: Table, key: Key) -> int:
        """When a partition took its place, whatever it is dated by."""

    def publishing(self, table: Table, key: Key, as_of: int | None = None) -> AbstractContextManager[Staged]:
        """Write a partition of any size; readers see the old one until the block ends, then the new.

        Args:
            as_of: what to date it by, where that says what it was made from; else the moment.
        """

    def mirrored(self, tables: Sequence[Table]) -> "AbstractContextManager[DirectoryLake]":
        """Published tables, whole, in a directory of this machine; for what reads a directory."""

    def scratch(self) -> AbstractContextManager[Path]:
        """A folder of this machine that goes when the block ends."""

    def snapshot(self) -> "Lake":
        """The lake for reading many dates: it may answer from what it saw at first."""

    def sweep(self, before: float) -> Swept:
        """Remove what writers that were killed left, and what is out of use, if nobody touched it since `before`.

        Args:
            before: seconds since 1970.
        """


class DirectoryLake(LocalLake):
    """A lake in a directory of this machine; a partition is dated by its file."""

    def failed_prefixes(self) -> list[str]:
        folder = self.path(FAILED_PREFIX)
        stages = (stage.name for stage in folder.iterdir()) if folder.is_dir() else ()
        return sorted(failed_prefix(stage) for stage in stages if not stage.startswith("."))

    def landed_bytes(self, prefix: str, hour: datetime) -> int:
        return sum(file.stat().st_size for file in self.list_hour(prefix, hour))

    def changed_at(self, prefixes: Sequence[str], hour: datetime) -> int:
        return max((_modified_at(self.path(hour_prefix(prefix, hour))) for prefix in prefixes), default=0)

    def exists(self, relative: str) -> bool:
        return self.path(relative).exists()

    def read(self, relative: str) -> bytes | None:
        try:
            return self.path(relative).read_bytes()
        except FileNotFoundError:
            return None

    def dated(self, relative: str) -> int:
        return _modified_at(self.path(relative))

    def hours(self, table: Table) -> list[datetime]:
        return [hour for hour in self.landed_hours(table.prefix) if self.partition(table, hour)]

    def days(self, table: Table) -> list[date]:
        folders = self.path(table.prefix).glob("date=*")
        days = sorted(date.fromisoformat(folder.name.removeprefix("date=")) for folder in folders)
        return [day for day in days if self.partition(table, day)]

    def partition(self, table: Table, key: Key) -> Path | None:
        file = self.path(partition_file(table, key))
        return file if file.exists() else None

    def as_of(self, table: Table, key: Key) -> int:
        return self.dated(partition_file(table, key))

    def written_at(self, table: Table, key: Key) -> int:
        try:
            return self.path(partition_file(table, key)).stat().st_ctime_ns
        except FileNotFoundError:
            return 0

    @contextmanager
    def publishing(self, table: Table, key: Key, as_of: int | None = None) -> Iterator[Staged]:
        with replaced(self.path(partition_file(table, key)), as_of) as draft:
            yield Staged(draft)

    @contextmanager
    def mirrored(self, tables: Sequence[Table]) -> "Iterator[DirectoryLake]":
        yield self

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        self.root.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=".scratch-", dir=self.root) as folder:
            yield Path(folder)

    def snapshot(self) -> "DirectoryLake":
        return self

    def sweep(self, before: float) -> Swept:
        return sweep(self.root, before)


class LocalLakeResource(dg.ConfigurableResource[DirectoryLake]):
    """The lake in a directory of this machine."""

    root: str

    def create_resource(self, context: dg.InitResourceContext) -> DirectoryLake:
        return DirectoryLake(Path(self.root))


def partition_folder(table: Table, key: Key) -> str:
    """Where a partition lies: `flattened/year=…/hour=04`, `aggregated/events_by_type/date=2026-11-23`."""
    match key:
        case datetime():
            return hour_prefix(table.prefix, key)
        case date():
            return day_prefix(table.prefix, key.isoformat())
    return table.prefix


def partition_file(table: Table, key: Key) -> str:
    """Where the one file of a partition lies in a directory: `flattened/year=…/hour=04/flattened_events.parquet`."""
    return f"{partition_folder(table, key)}/{table.name}.{table.format}"


def written_partition(lake: Lake, table: Table, key: Key) -> File:
    """The one file of a partition that is there.

    Raises:
        LookupError: it is not.
    """
    file = lake.partition(table, key)
    if file is None:
        raise LookupError(f"{table.name} has no partition {key}" if key else f"there is no {table.name}")
    return file


def are_here(files: Sequence["os.PathLike[str]"]) -> bool:
    """Whether files lie on this machine, so that none needs to be fetched."""
    return all(isinstance(file, Path) for file in files)


def local_paths(files: Sequence["os.PathLike[str]"]) -> list[str]:
    """The paths of files on this machine; those that lie elsewhere are fetched, several at once."""
    if are_here(files):
        return [os.fspath(file) for file in files]
    with ThreadPoolExecutor(_FETCHED_AT_ONCE) as threads:
        return list(threads.map(os.fspath, files))


def sweep(root: Path, before: float) -> Swept:
    """Remove what writers that were killed left under `root`: dot files and folders that nobody touched since `before`.

    Args:
        before: seconds since 1970.
    """
    swept = Swept([], 0)
    for folder, folders, files in os.walk(root):
        for name in [*folders, *files]:
            path = Path(folder) / name
            if name.startswith(".") and _touched_at(path) < before:
                swept = Swept([*swept.paths, str(path)], swept.bytes + _size(path))
                _remove(path)
        folders[:] = [name for name in folders if not name.startswith(".")]
    return swept


def _modified_at(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def _touched_at(path: Path) -> float:
    """When a file, or anything in a folder, last changed, whatever it is dated by; now, where it has just gone."""
    try:
        return max(each.stat().st_ctime for each in (path, *path.rglob("*")))
    except FileNotFoundError:
        return time.time()


def _size(path: Path) -> int:
    return sum(each.stat().st_size for each in (path, *path.rglob("*")) if each.is_file())


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
