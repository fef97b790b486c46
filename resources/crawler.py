"""The crawler: looks at files that are new or changed since it last came by, and remembers how they differ.

What it remembers is a file of its own beside the catalog, replaced as a whole, so two crawls at once cost no more than
doing a thing twice. It is made from the lake alone: lost, or of another release, it is made again.

A folder's files are told by their number and the newest moment one was put in its place. Only files newer than those
that were seen are read; where others have gone or were replaced, the whole folder is.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

import msgspec

from resources.file_schemas import SAMPLE_BYTES, Inspected, declaration, inspect
from resources.lake import DirectoryLake
from streaming.domain.layout import folder_patterns
from streaming.domain.schema_drift import DriftKind
from streaming.domain.tables import Column, Table
from streaming.edges.lake import replaced

# What one crawl reads at most, but for the last folder: the rest is for the next, the oldest last.
MOST_FILES = 10_000
MOST_BYTES = 100_000_000
# Drifts of a table that are told: clients can invent any number of keys.
MOST_DRIFTS = 100

_RELEASE = 1
_LONGEST_FOUND = 200

SCHEMA_DRIFT = (
    Column("table_name", "VARCHAR", "the table whose files differ from its declared schema"),
    Column("column_name", "VARCHAR", "path of the column, such as additional_data.price; empty for a file as a whole"),
    Column("kind", "VARCHAR", "new_column, missing_column, changed_type, unreadable or unrecognised"),
    Column("is_error", "BOOLEAN", "whether numbers are wrong or incomplete until it is mended"),
    Column("declared", "VARCHAR", "the declared type"),
    Column("found", "VARCHAR", "the type that the files have, or what is wrong with them"),
    Column("files", "BIGINT", "how many files there are of it"),
    Column("example_file", "VARCHAR", "one of them, below the lake"),
    Column("since", "TIMESTAMP", "when the first of them was put in its place, UTC"),
)  # fmt: skip


class Drift(NamedTuple):
    """One row of `schema_drift`: how files of a table differ in one column."""

    table_name: str
    column_name: str
    kind: DriftKind
    is_error: bool
    declared: str
    found: str
    files: int
    example_file: str
    since: datetime


class Crawl(NamedTuple):
    """What a crawl found and read, and what it left for the next."""

    files: int
    files_read: int
    files_left: int


class Known(NamedTuple):
    """What is known of the lake: its drifts, and by table the files to read apart from the others, see Inspected.

    An unreadable file has no columns to read it by.
    """

    drifts: list[Drift]
    apart: Mapping[str, Mapping[str, Sequence[str] | None]]


class _Finding(msgspec.Struct, array_like=True):
    """A difference in files of one folder; `since` in nanoseconds since 1970."""

    kind: DriftKind
    column: str
    declared: str
    found: str
    is_error: bool
    files: int
    example: str
    since: int


class _Folder(msgspec.Struct, array_like=True):
    """A folder as it was seen: how many files, and the newest one's moment in nanoseconds since 1970."""

    files: int = 0
    newest: int = 0
    findings: list[_Finding] = []
    apart: dict[str, list[str] | None] = {}


class _Seen(msgspec.Struct, array_like=True):
    """What is known of a table's files, by folder, under one declaration of it."""

    declaration: str
    folders: dict[str, _Folder]


class _File(NamedTuple):
    """When a file was put in its place, in nanoseconds since 1970, and its size in bytes."""

    written_at: int
    bytes: int


class _Changed(NamedTuple):
    """A folder, what is known of it and holds on, and its files to read, by name."""

    table: Table
    folder: str
    known: _Folder
    listed: Mapping[str, _File]
    new: Sequence[str]

    @property
    def newest(self) -> int:
        return _newest(self.listed)

    @property
    def bytes(self) -> int:
        most = SAMPLE_BYTES if self.table.format == "json" else MOST_BYTES
        return 0 if self.table.format == "parquet" else sum(min(self.listed[name].bytes, most) for name in self.new)


_Memory = dict[str, _Seen]
_decode = msgspec.json.Decoder(tuple[int, _Memory]).decode


class Crawler:
    """Crawls a lake, and keeps what it knows in `file`."""

    def __init__(self, file: Path, lake: DirectoryLake) -> None:
        self.file = file
        self._lake = lake

    def crawl(self, tables: Sequence[Table], most_files: int = MOST_FILES, most_bytes: int = MOST_BYTES) -> Crawl:
        """Read what is new or changed, the newest first, and remember it."""
        memory = self._remembered(tables)
        changed: list[_Changed] = []
        files = 0
        for table in tables:
            present = dict(self._folders(table))
            known = memory[table.name].folders
            memory[table.name].folders = {folder: known[folder] for folder in known if folder in present}
            files += sum(map(len, present.values()))
            changed += _changed(table, known, present)
        chosen, left = _affordable(changed, most_files, most_bytes)
        for table in tables:
            self._look([each for each in chosen if each.table == table], table, memory[table.name].folders)
        self._remember(memory)
        return Crawl(files, sum(len(each.new) for each in chosen), left)

    def known(self, tables: Sequence[Table]) -> Known:
        """What the crawls so far have found of these tables."""
        memory = self._remembered(tables)
        apart = {
            name: {
                f"{folder}/{file}": columns
                for folder, found in seen.folders.items()
                for file, columns in found.apart.items()
            }
            for name, seen in memory.items()
        }
        return Known([drift for name, seen in memory.items() for drift in _drifts(name, seen.folders)], apart)

    def _folders(self, table: Table) -> Iterator[tuple[str, dict[str, _File]]]:
        """The folders of a table that have files, and these."""
        for folder in _subfolders(str(self._lake.path(table.prefix)), folder_patterns(table)):
            if listed := _listed(folder):
                yield os.path.relpath(folder, self._lake.root), listed

    def _look(self, changed: Sequence[_Changed], table: Table, folders: dict[str, _Folder]) -> None:
        """Read the new files of a table's folders, and enter what they are like."""
        found: dict[str, list[tuple[str, Inspected]]] = {each.folder: [] for each in changed}
        paths = {self._lake.path(f"{each.folder}/{name}"): (each.folder, name) for each in changed for name in each.new}
        for path, inspected in inspect(table, list(paths)):
            folder, name = paths[path]
            found[folder].append((name, inspected))
        for each in changed:
            folders[each.folder] = _entered(each, found[each.folder])

    def _remembered(self, tables: Sequence[Table]) -> _Memory:
        try:
            release, memory = _decode(self.file.read_bytes())
        except (FileNotFoundError, msgspec.MsgspecError):
            release, memory = _RELEASE, {}
        kept = memory if release == _RELEASE else {}
        fresh = {table.name: _Seen(declaration(table), {}) for table in tables}
        return {
            name: kept[name] if name in kept and kept[name].declaration == seen.declaration else seen
            for name, seen in fresh.items()
        }

    def _remember(self, memory: _Memory) -> None:
        with replaced(self.file, durable=False) as draft:
            draft.write_bytes(msgspec.json.encode((_RELEASE, memory)))


def _subfolders(folder: str, patterns: Sequence[str]) -> Iterator[str]:
    """The folders below one that are named like these, level by level."""
    if not patterns:
        yield folder
        return
    for entry in _entries(folder):
        if fnmatchcase(entry.name, patterns[0]) and entry.is_dir():
            yield from _subfolders(entry.path, patterns[1:])


def _listed(folder: str) -> dict[str, _File]:
    listed = {}
    for entry in _entries(folder):
        try:
            if entry.is_file():
                state = entry.stat()
                listed[entry.name] = _File(state.st_ctime_ns, state.st_size)
        except FileNotFoundError:
            continue
    return listed


def _entries(folder: str) -> list[os.DirEntry[str]]:
    """What is in a folder, but for what is in the making."""
    try:
        with os.scandir(folder) as entries:
            return [entry for entry in entries if not entry.name.startswith(".")]
    except (FileNotFoundError, NotADirectoryError):
        return []


def _newest(listed: Mapping[str, _File]) -> int:
    return max(file.written_at for file in listed.values())


def _changed(
    table: Table, known: Mapping[str, _Folder], present: Mapping[str, Mapping[str, _File]]
) -> Iterator[_Changed]:
    """The folders that are not as they were seen."""
    for folder, listed in present.items():
        seen = known.get(folder, _Folder())
        if (seen.files, seen.newest) == (len(listed), _newest(listed)):
            continue
        new = [name for name, file in listed.items() if file.written_at > seen.newest]
        if seen.files + len(new) == len(listed):
            yield _Changed(table, folder, seen, listed, new)
        else:
            yield _Changed(table, folder, _Folder(), listed, list(listed))


def _affordable(changed: list[_Changed], most_files: int, most_bytes: int) -> tuple[list[_Changed], int]:
    """The newest folders, as far as a crawl may read, and how many files are left."""
    chosen, left = [], 0
    for each in sorted(changed, key=lambda each: each.newest, reverse=True):
        if most_files > 0 and most_bytes > 0:
            chosen.append(each)
            most_files -= len(each.new)
            most_bytes -= each.bytes
        else:
            left += len(each.new)
    return chosen, left


def _entered(changed: _Changed, found: Sequence[tuple[str, Inspected]]) -> _Folder:
    """A folder with what was found in its new files."""
    findings = {(each.kind, each.column, each.found): each for each in changed.known.findings}
    apart = dict(changed.known.apart)
    for name, inspected in found:
        if not inspected.is_readable or inspected.columns is not None:
            apart[name] = None if inspected.columns is None else list(inspected.columns)
        written_at = changed.listed[name].written_at
        for each in inspected.differences:
            new = _Finding(*each, files=0, example=name, since=written_at)
            finding = findings.setdefault((each.kind, each.column, each.found), new)
            finding.files += 1
            finding.since = min(finding.since, written_at)
    kept = sorted(findings.values(), key=lambda finding: not finding.is_error)[:MOST_DRIFTS]
    return _Folder(len(changed.listed), changed.newest, kept, apart)


def _drifts(table_name: str, folders: Mapping[str, _Folder]) -> list[Drift]:
    """A row for each column and kind: errors, which no client's keys may hide, then those of most files."""
    drifts: dict[tuple[str, DriftKind], Drift] = {}
    for folder, seen in folders.items():
        for each in seen.findings:
            since = datetime.fromtimestamp(each.since / 1e9, UTC)
            example = f"{folder}/{each.example}"
            new = Drift(
                table_name, each.column, each.kind, each.is_error, each.declared, each.found, each.files, example, since
            )
            key = (each.column, each.kind)
            drifts[key] = _merged(drifts[key], new) if key in drifts else new
    ordered = sorted(
        drifts.values(), key=lambda drift: (not drift.is_error, -drift.files, drift.column_name, drift.kind)
    )
    return ordered[:MOST_DRIFTS]


def _merged(one: Drift, other: Drift) -> Drift:
    is_told = other.found in one.found.split("; ") or len(one.found) > _LONGEST_FOUND
    return one._replace(
        is_error=one.is_error or other.is_error,
        found=one.found if is_told else f"{one.found}; {other.found}",
        files=one.files + other.files,
        since=min(one.since, other.since),
    )
