"""The lake in a bucket of S3. What is landed lies where Firehose puts it, tables where the Glue Data Catalog says.

A partition is published by an upload to a folder that is named after its content, or by an engine that wrote to a
folder of its own; then the partition's entry in Glue is pointed there. So no reader ever meets half of one, and nothing
that a reader may still read is overwritten: a sweep removes it a day after it was replaced.
"""

import hashlib
import os
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

import dagster as dg
import msgspec

from resources.aws.glue.partitions import GluePartitions, Published, published_of
from resources.aws.s3.bucket import Bucket, Listed
from resources.aws.s3.landing import Landing, is_of_one_hour
from resources.aws.s3.listing import Listing, Object, is_file
from resources.aws.s3.slices import (
    RULE,
    Unbelieved,
    is_within,
    raw_reader,
    read_error,
    slice_lines,
    slice_parquet,
    unbelieved_in,
)
from resources.aws.s3.unbelieved import UnbelievedStamps
from resources.lake import DirectoryLake, Key, Staged, Swept, local_paths, partition_file, partition_folder, sweep
from resources.local_copies import LocalCopies, RemoteFile
from streaming.domain.tables import RAW_EVENTS, TABLES, Table
from streaming.edges.aws import client
from streaming.jobs.work import LakeFile, RawCopy

# A statement that was planned before a partition was replaced may run for hours, and so may a run with its snapshot.
IN_USE = timedelta(days=1)
_CONNECTIONS = 32
_AS_OF = "as-of"
_PARQUET = {table.prefix for table in TABLES.values() if table.format == "parquet"}
# One file of a publication, in a folder named by the hash of its content or by an attempt.
_PUBLISHED = re.compile(r"(?P<folder>(?P<partition>.+/)[0-9a-f]{32}/)[^/]+")


class S3Lake:
    """A lake of a bucket for files, a listing of it for landing, and a database of Glue for tables.

    Args:
        folder: of this machine, for copies of what is read and for what is being written.
    """

    def __init__(
        self, bucket: Bucket, listing: Listing, tables: GluePartitions, copies: LocalCopies, folder: Path
    ) -> None:
        self._bucket = bucket
        self._listing = listing
        self._tables = tables
        self._copies = copies
        self._folder = folder

    def landed_hours(self, prefix: str) -> list[datetime]:
        return self._landing().hours(prefix)

    def list_hour(self, prefix: str, hour: datetime) -> list[RemoteFile]:
        landing = self._landing()
        stamps = UnbelievedStamps(landing, self._unbelieved)
        return [self._landed(prefix, hour, each, stamps) for each in landing.objects(prefix, hour)]

    def landed_bytes(self, prefix: str, hour: datetime) -> int:
        return sum(each.size for each in self._landing().objects(prefix, hour))

    def changed_at(self, prefixes: Sequence[str], hour: datetime) -> int:
        return self._landing().changed_at(prefixes, hour)

    def failed_prefixes(self) -> list[str]:
        return self._landing().failed_prefixes()

    def exists(self, relative: str) -> bool:
        return self._bucket.metadata(relative) is not None

    def read(self, relative: str) -> bytes | None:
        return self._bucket.read(relative)

    def dated(self, relative: str) -> int:
        return int((self._bucket.metadata(relative) or {}).get(_AS_OF, 0))

    def publish(self, relative: str, data: bytes, as_of: int | None = None) -> None:
        self._bucket.put(relative, data, {_AS_OF: str(time.time_ns() if as_of is None else as_of)})
        self._listing.forget(relative)

    def hours(self, table: Table) -> list[datetime]:
        return sorted(key for key in self._tables.all(table) if isinstance(key, datetime))

    def days(self, table: Table) -> list[date]:
        return sorted(key for key in self._tables.all(table) if key is not None)

    def partition(self, table: Table, key: Key) -> RemoteFile | None:
        found = self._tables.find(table, key)
        return self._published(table, key, found) if found else None

    def as_of(self, table: Table, key: Key) -> int:
        found = self._tables.find(table, key)
        return found.as_of if found else 0

    def written_at(self, table: Table, key: Key) -> int:
        found = self._tables.find(table, key)
        return found.written_at if found else 0

    @contextmanager
    def publishing(self, table: Table, key: Key, as_of: int | None = None) -> Iterator[Staged]:
        folder = partition_folder(table, key)
        attempt = f"{folder}/{uuid4().hex}/"
        with self.scratch() as scratch:
            staged = Staged(scratch / f"{table.name}.{table.format}", self._address(attempt))
            yield staged
            stored = self._upload(staged.path, folder) if staged.path.exists() else self._written(attempt)
        at, _, file = stored.rpartition("/")
        now = time.time_ns()
        published = Published(self._address(f"{at}/"), file, now if as_of is None else as_of, now)
        before = self._tables.point(table, key, published)
        if not self._is_there(published):
            replaced = published_of(before or {})
            self._tables.put_back(table, key, before if replaced and self._is_there(replaced) else None)
            raise FileNotFoundError(f"{published.location} was swept while this was stopped for a day: run it again")

    @contextmanager
    def mirrored(self, tables: Sequence[Table]) -> Iterator[DirectoryLake]:
        files = {
            partition_file(table, key): self._published(table, key, published)
            for table in tables
            for key, published in self._tables.all(table).items()
        }
        with self.scratch() as scratch:
            for relative, path in zip(files, local_paths(list(files.values())), strict=True):
                link = scratch / relative
                link.parent.mkdir(parents=True, exist_ok=True)
                os.link(path, link)
            yield DirectoryLake(scratch)

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        self._folder.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=".scratch-", dir=self._folder) as folder:
            yield Path(folder)

    def snapshot(self) -> "S3Lake":
        return S3Lake(self._bucket, self._listing.at_once(), self._tables.at_once(), self._copies, self._folder)

    def sweep(self, before: float) -> Swept:
        local = sweep(self._folder, before)
        unused_since = min(before, time.time() - IN_USE.total_seconds())
        replaced = list(self._replaced(unused_since))
        self._bucket.delete([each.key for each in replaced])
        aborted = self._bucket.abort_uploads(unused_since)
        paths = [self._address(key) for key in (*(each.key for each in replaced), *aborted)]
        return Swept(local.paths + paths, local.bytes + sum(each.size for each in replaced))

    def _landing(self) -> Landing:
        return Landing(self._listing.at_once())

    def _landed(self, prefix: str, hour: datetime, found: Object, stamps: UnbelievedStamps) -> RemoteFile:
        """What a landed file has of an hour; it is cut when it is fetched, and what is known of it looked up then."""
        ending = ".parquet" if prefix in _PARQUET else ".json.gz"  # DuckDB goes by it
        named = found.name if found.name.endswith(ending) else found.name + ending
        address = self._address(found.key)

        def raw_copy() -> RawCopy | None:
            return stamps.raw_copy(found) if prefix == RAW_EVENTS.prefix else None

        def whole() -> Path:
            return self._copy(found.key, found.etag, named)

        def cut() -> Path:
            source = RemoteFile(found.name, whole)
            if prefix in _PARQUET and is_within(Path(source), hour):
                return whole()
            of = raw_copy()
            identity = f"{found.etag} {found.key} {hour:%Y-%m-%dT%H} rule {RULE} of {of}"
            return self._copies.linked(identity, named, lambda target: _cut(prefix, Path(source), hour, of, target))

        if is_of_one_hour(found.name):
            return RemoteFile(found.name, whole, lambda: LakeFile(address))
        return RemoteFile(found.name, cut, lambda: LakeFile(address, hour, raw_copy()))

    def _unbelieved(self, errors: Object) -> list[Unbelieved]:
        """The records in an error file of Firehose whose stamps were not believed."""

        def find(target: Path) -> None:
            source = RemoteFile(errors.name, lambda: self._copy(errors.key, errors.etag, errors.name))
            target.write_bytes(msgspec.json.encode(list(unbelieved_in(Path(source)))))

        identity, name = f"unbelieved {errors.etag} {errors.key} rule {RULE}", "unbelieved.json"
        found = RemoteFile(name, lambda: self._copies.linked(identity, name, find))
        return msgspec.json.decode(Path(found).read_bytes(), type=list[Unbelieved])

    def _published(self, table: Table, key: Key, published: Published) -> RemoteFile:
        name = f"{table.name}.{table.format}"
        # Readers take the day from the folder, as in a directory.
        named = partition_file(table, key).removeprefix(f"{table.prefix}/") if table.partition == "day" else name
        stored = self._key(published.location) + published.file
        return RemoteFile(name, lambda: self._copy(stored, None, named), lambda: LakeFile(self._address(stored)))

    def _is_there(self, published: Published) -> bool:
        return self.exists(self._key(published.location) + published.file)

    def _copy(self, key: str, etag: str | None, named: str) -> Path:
        """A link to a copy of an object. Without an ETag it is one that is never overwritten."""
        return self._copies.linked(
            f"{etag or ''} {key}", named, lambda target: self._bucket.download(key, etag, target)
        )

    def _upload(self, file: Path, folder: str) -> str:
        """Store a file under a name that follows from its content and the day, and so says nothing else, ever.

        The day keeps a sweep, which removes what is a day old, from what is being published once more.
        """
        with file.open("rb") as content:
            digest = hashlib.file_digest(content, "sha256")
        digest.update(f"{datetime.now(UTC):%Y-%m-%d}".encode())
        key = f"{folder}/{digest.hexdigest()[:32]}/{file.name}"
        if self._bucket.metadata(key) is None:
            self._bucket.upload(file, key)
        return key

    def _written(self, attempt: str) -> str:
        """The file that an engine wrote to the folder of an attempt."""
        keys = [each.key for each in self._bucket.objects(attempt) if each.size and is_file(each.key)]
        if len(keys) != 1:
            raise FileNotFoundError(f"a partition is one file; {self._address(attempt)} has {len(keys)}")
        return keys[0]

    def _replaced(self, before: float) -> Iterator[Listed]:
        """Files of partitions that others took the place of before a moment, and those that nothing ever pointed to.

        Where a partition has no entry, they stay: a table that is dropped takes its entries along, and no file.
        """
        for root, partitions in self._tables.everything().items():
            in_place = {_partition_of(each.location): each for each in partitions}
            for each in self._bucket.objects(self._key(root)):
                found = _PUBLISHED.fullmatch(each.key)
                now = in_place.get(self._address(found["partition"])) if found else None
                if found is None or now is None or now.location == self._address(found["folder"]):
                    continue
                if each.modified < before and now.written_at < before * 1e9:
                    yield each

    def _address(self, key: str) -> str:
        return f"s3://{self._bucket.name}/{key}"

    def _key(self, address: str) -> str:
        return address.removeprefix(f"s3://{self._bucket.name}/")


class S3LakeResource(dg.ConfigurableResource[S3Lake]):
    """The lake in a bucket, its tables in a database of Glue; `copies_bytes` bounds the copies in `folder`."""

    bucket: str
    database: str
    folder: str
    copies_bytes: int

    def create_resource(self, context: dg.InitResourceContext) -> S3Lake:
        return open_s3_lake(self.bucket, self.database, Path(self.folder), self.copies_bytes)


def open_s3_lake(bucket: str, database: str, folder: Path, copies_bytes: int) -> S3Lake:
    """The lake of a bucket and a database, with clients of its own."""
    s3 = client("s3", connections=_CONNECTIONS)
    listing = Listing(bucket, folder / "listings", s3)
    tables = GluePartitions(database, client("glue"))
    return S3Lake(Bucket(bucket, s3), listing, tables, LocalCopies(folder, copies_bytes), folder)


def _cut(prefix: str, source: Path, hour: datetime, of: RawCopy | None, target: Path) -> None:
    if prefix in _PARQUET:
        slice_parquet(source, hour, target)
    elif of:
        slice_lines(source, hour, target, raw_reader(of, hour))
    else:
        slice_lines(source, hour, target, read_error)


def _partition_of(location: str) -> str:
    return location.rstrip("/").rpartition("/")[0] + "/"
