"""What lies below the landing prefixes of a bucket, by prefix and hour of the key.

Whoever asks asks often, and listing costs money. So days before yesterday, to which little comes, are remembered on
disk for an hour, and so is what their objects come to, for years of them have millions; what this platform writes to
them itself is seen at once.

Whatever is remembered was looked for after what was remembered before it. So nobody who has seen an object, or has
written one, is shown an earlier state of its day.
"""

import fcntl
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec

from streaming.domain.layout import hour_prefix, parse_hour
from streaming.edges.lake import replaced

REMEMBERED_SECONDS = 3600.0
_LISTED_AT_ONCE = 8
_DAY = timedelta(days=1)

Answer = TypeVar("Answer")


class Object(NamedTuple):
    """An object of the bucket; `modified` is in whole seconds since 1970, all that S3 tells."""

    key: str
    etag: str
    size: int
    modified: int

    @property
    def name(self) -> str:
        return self.key.rpartition("/")[2]


class Arrived(NamedTuple):
    """What objects of one folder come to for an hour: the second of the newest, and a sum of hashes of them all."""

    hour: datetime
    newest: int
    mixed: int


class Memory(NamedTuple, Generic[Answer]):
    """What is remembered, and since when it was looked for, in nanoseconds since 1970."""

    what: Answer
    at: int


Day = dict[datetime, list[Object]]
Arrivals = dict[datetime, Arrived]


class Listing:
    """The objects of a bucket's landing prefixes; `folder` is for what is remembered."""

    def __init__(self, bucket: str, folder: Path, s3: Any) -> None:
        self.bucket = bucket
        self._folder = folder
        self._s3 = s3

    def day(self, prefix: str, day: date) -> Day:
        """The objects whose keys lie in the hours of a day, each sorted by key."""
        if _is_settled(day):
            return _by_hour(self._listed(prefix, day).what)
        return _by_hour(self._list(_day_folder(prefix, day)))

    def every_day(self, prefix: str, summarise: Callable[[Day], Arrivals]) -> list[Arrived]:
        """What all objects come to, day by day."""
        days = self._days(prefix)
        with ThreadPoolExecutor(_LISTED_AT_ONCE) as threads:
            some = threads.map(lambda day: self.arrived(prefix, day, summarise), days)
            return [each for of_day in some for each in of_day.values()]

    def arrived(self, prefix: str, day: date, summarise: Callable[[Day], Arrivals]) -> Arrivals:
        """What the objects of a day come to, by the hour."""
        if not _is_settled(day):
            return summarise(self.day(prefix, day))
        file = self._file(prefix, f"{day}.arrived")
        known = _remembered(file, list[Arrived])
        # Of this very listing: were it of a later one, an hour would be dated by objects that its reader does not see.
        if known is None or known.at != _dated(self._file(prefix, day.isoformat())):
            listed = self._listed(prefix, day)
            known = Memory(list(summarise(_by_hour(listed.what)).values()), listed.at)
            _write(file, msgspec.json.encode(known.what), known.at)
        return {each.hour: each for each in known.what}

    def folders(self, prefix: str) -> list[str]:
        """The names of the folders directly below a prefix, sorted."""
        return self._list_folders(prefix)

    def at_once(self) -> "Listing":
        """The same, to be asked about one moment."""
        return ListingAtOnce(self.bucket, self._folder, self._s3)

    def forget(self, key: str) -> None:
        """An object was written: its day is to be listed anew."""
        hour = parse_hour(key)
        if hour is not None:
            prefix = key.partition("/year=")[0]
            with self._alone():
                for name in (hour.date().isoformat(), "days"):
                    _write(self._file(prefix, name), b"", time.time_ns())

    def _listed(self, prefix: str, day: date) -> Memory[list[Object]]:
        """The objects of a settled day."""
        file = self._file(prefix, day.isoformat())
        return self._known(file, list[Object], lambda: self._list(_day_folder(prefix, day)))

    def _days(self, prefix: str) -> list[date]:
        """The days with objects, and the last two, which may get some."""
        known = self._known(self._file(prefix, "days"), list[date], lambda: self._find_days(prefix))
        today = datetime.now(UTC).date()
        return sorted({*known.what, today - _DAY, today})

    def _find_days(self, prefix: str) -> list[date]:
        years = [f"{prefix}/{year}" for year in self._list_folders(prefix) if year.startswith("year=")]
        months = [f"{year}/{month}" for year in years for month in self._list_folders(year)]
        with ThreadPoolExecutor(_LISTED_AT_ONCE) as threads:
            in_months = threads.map(self._list_folders, months)
        found = (f"{month}/{day}" for month, names in zip(months, in_months, strict=True) for day in names)
        return [hour.date() for each in found if (hour := parse_hour(f"{each}/hour=00"))]

    def _known(self, file: Path, type_: type[Answer], find: Callable[[], Answer]) -> Memory[Answer]:
        """What is remembered, or else found now; again, where others remembered or forgot while it was looked for."""
        while True:
            before, begun = _dated(file), time.time_ns()
            if known := _remembered(file, type_):
                return known
            found = find()
            with self._alone():
                if _dated(file) == before:
                    _write(file, msgspec.json.encode(found), begun)
                    return Memory(found, begun)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """While no other process or thread remembers or forgets."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _list(self, folder: str) -> list[Object]:
        pages = self._s3.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=f"{folder}/")
        return [_object(each) for page in pages for each in page.get("Contents", ()) if is_file(each["Key"])]

    def _list_folders(self, prefix: str) -> list[str]:
        pages = self._s3.get_paginator("list_objects_v2").paginate(
            Bucket=self.bucket, Prefix=f"{prefix}/", Delimiter="/"
        )
        found = (each["Prefix"] for page in pages for each in page.get("CommonPrefixes", ()))
        return sorted(folder.rstrip("/").rpartition("/")[2] for folder in found)

    def _file(self, prefix: str, name: str) -> Path:
        return self._folder / prefix / f"{name}.json"


class ListingAtOnce(Listing):
    """The objects as they were when their day was asked for first."""

    def __init__(self, bucket: str, folder: Path, s3: Any) -> None:
        super().__init__(bucket, folder, s3)
        self._seen: dict[tuple[str, date], Day] = {}
        self._seen_arrived: dict[tuple[str, date], Arrivals] = {}
        self._seen_folders: dict[str, list[str]] = {}

    def at_once(self) -> Listing:
        return self

    def folders(self, prefix: str) -> list[str]:
        if prefix not in self._seen_folders:
            self._seen_folders[prefix] = super().folders(prefix)
        return self._seen_folders[prefix]

    def arrived(self, prefix: str, day: date, summarise: Callable[[Day], Arrivals]) -> Arrivals:
        if (prefix, day) not in self._seen_arrived:
            self._seen_arrived[prefix, day] = super().arrived(prefix, day, summarise)
        return self._seen_arrived[prefix, day]

    def day(self, prefix: str, day: date) -> Day:
        if (prefix, day) not in self._seen:
            self._seen[prefix, day] = super().day(prefix, day)
        return self._seen[prefix, day]


def _day_folder(prefix: str, day: date) -> str:
    return hour_prefix(prefix, datetime.combine(day, datetime.min.time(), UTC)).rpartition("/")[0]


def _is_settled(day: date) -> bool:
    return day < datetime.now(UTC).date() - _DAY


def is_file(key: str) -> bool:
    """Whether an object has rows: readers, of whichever engine, pass by names that begin with a dot or underscore."""
    return key.rpartition("/")[2][:1] not in ("", ".", "_")


def _object(listed: Mapping[str, Any]) -> Object:
    return Object(listed["Key"], listed["ETag"].strip('"'), listed["Size"], int(listed["LastModified"].timestamp()))


def _by_hour(objects: Iterable[Object]) -> Day:
    by_hour: Day = {}
    for each in objects:
        if (hour := parse_hour(each.key)) is not None:
            by_hour.setdefault(hour, []).append(each)
    return by_hour


def _remembered(file: Path, type_: type[Answer]) -> Memory[Answer] | None:
    try:
        with file.open("rb") as memory:
            at = os.fstat(memory.fileno()).st_mtime_ns
            if at < (time.time() - REMEMBERED_SECONDS) * 1e9:
                return None
            return Memory(msgspec.json.decode(memory.read(), type=type_), at)
    except (FileNotFoundError, msgspec.MsgspecError):  # none yet, or another release's: it is only a memory
        return None


def _write(file: Path, data: bytes, at: int) -> None:
    """Keep something for others and for later; what is empty tells them that it is to be looked for anew.

    Args:
        at: what to date it by.
    """
    with replaced(file, at, durable=False) as draft:
        draft.write_bytes(data)


def _dated(file: Path) -> int:
    try:
        return file.stat().st_mtime_ns
    except FileNotFoundError:
        return 0
