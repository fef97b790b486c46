"""The lake as the writer of its tables sees it: landing files in, partitions out, each published in one step."""

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import dagster as dg

from streaming.domain.layout import day_prefix, hour_prefix
from streaming.domain.tables import Table
from streaming.edges.lake import LocalLake

FAILED_PREFIX = "failed"


class Swept(NamedTuple):
    """What a sweep removed, and how many bytes that freed."""

    paths: list[str]
    bytes: int


class Lake(LocalLake):
    """A directory of this machine. Paths are relative to its root; hours are UTC."""

    def partition(self, table: Table, hour: datetime) -> Path | None:
        """The one file of a table's hour; None before it is written."""
        file = self.path(partition_file(table, hour))
        return file if file.exists() else None

    def failed_prefixes(self) -> list[str]:
        """Where the stages record failures: `failed/enrichment`, ..."""
        folder = self.path(FAILED_PREFIX)
        stages = (stage.name for stage in folder.iterdir()) if folder.is_dir() else ()
        return sorted(f"{FAILED_PREFIX}/{stage}" for stage in stages if not stage.startswith("."))

    def changed_at(self, prefix: str, hour: datetime) -> int:
        """When a file last came to an hour of landing, in nanoseconds since 1970; 0 where none ever did."""
        return modified_at(self.path(hour_prefix(prefix, hour)))

    @contextmanager
    def publishing(self, relative: str, as_of: int | None = None) -> Iterator[Path]:
        """Write a file of any size to the path yielded; readers see the old one until the block ends, then the new.

        Args:
            as_of: nanoseconds since 1970 to date the file by, where its age says what it was made from.
        """
        final = self.path(relative)
        final.parent.mkdir(parents=True, exist_ok=True)
        staged = final.with_name(f".{os.urandom(4).hex()}-{final.name}")
        try:
            yield staged
            if as_of is not None:
                os.utime(staged, ns=(as_of, as_of))
            _sync(staged)
            staged.replace(final)
            _sync(final.parent)
        finally:
            staged.unlink(missing_ok=True)

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """A folder on the lake's disk that goes when the block ends."""
        self.root.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=".scratch-", dir=self.root) as folder:
            yield Path(folder)


class LocalLakeResource(dg.ConfigurableResource[Lake]):
    """The lake in a directory of this machine."""

    root: str

    def create_resource(self, context: dg.InitResourceContext) -> Lake:
        return Lake(Path(self.root))


def partition_file(table: Table, hour: datetime) -> str:
    """Where the one file of a table's hour lies: `flattened/year=…/hour=04/flattened_events.parquet`."""
    return f"{hour_prefix(table.prefix, hour)}/{table.name}.parquet"


def day_file(table: Table, day: date) -> str:
    """Where the one file of a table's day lies: `aggregated/events_by_type/date=2026-11-23/events_by_type.csv`."""
    return f"{day_prefix(table.prefix, day.isoformat())}/{table.name}.{table.format}"


def modified_at(path: Path) -> int:
    """The date of a file or folder in nanoseconds since 1970; 0 where there is none."""
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def written_at(path: Path) -> int:
    """When a file was put in its place, in nanoseconds since 1970, whatever it is dated by; 0 where there is none."""
    try:
        return path.stat().st_ctime_ns
    except FileNotFoundError:
        return 0


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


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
