"""Landing on S3: the hours of arrival behind the files of Firehose.

Firehose names a file's folder after its oldest record, and what it holds came in any time from then until it was
delivered; the edge's stamp, by which hours go, lies up to MAX_STAMP_DRIFT before Kinesis took the record. So an hour is
what its own folder and its neighbours hold of it, each file cut to the rows that arrived in the hour when it is
fetched. What this platform lands itself, such as repairs, is of one hour already.
"""

import hashlib
import re
from collections.abc import Collection, Iterable, Iterator
from datetime import UTC, datetime, timedelta

from resources.s3_listing import Listing, Object
from streaming.domain.envelope import MAX_STAMP_DRIFT
from streaming.domain.layout import parse_hour

FAILED_PREFIX = "failed"
# Firehose puts the step that failed into the folder's name; here it goes by the stage's.
FIREHOSE_STAGES = {"processing-failed": "enrichment", "format-conversion-failed": "delivery"}

_HOUR = timedelta(hours=1)
# How far the clocks of S3 and of the edge may be apart.
_CLOCKS = timedelta(minutes=1)
_SECOND = 1_000_000_000
_OF_ONE_HOUR = re.compile(r"(?:heal|repair|replay)-[0-9a-f]{32}\..+")
_BEGUN = re.compile(r"-(\d{4}(?:-\d\d){5})-[0-9A-Fa-f]{8}-")


class Landing:
    """The hours of arrival behind a listing of the bucket."""

    def __init__(self, listing: Listing) -> None:
        self._listing = listing

    def failed_prefixes(self) -> list[str]:
        """Where stages record failures, by the names of the stages."""
        folders = self._listing.folders(FAILED_PREFIX)
        return sorted({f"{FAILED_PREFIX}/{FIREHOSE_STAGES.get(folder, folder)}" for folder in folders})

    def hours(self, prefix: str) -> list[datetime]:
        """The hours that may have rows."""
        hours: set[datetime] = set()
        for folder in _folders(prefix):
            for of, objects in self._listing.hours(folder).items():
                beside = (of - _HOUR, of, of + _HOUR)
                hours.update(hour for hour in beside if any(_may_hold(hour, each, of, prefix) for each in objects))
        return sorted(hours)

    def objects(self, prefixes: Iterable[str], hour: datetime) -> list[Object]:
        """The objects under some prefixes that may have rows of an hour, sorted by name."""
        found = (
            each
            for prefix in prefixes
            for folder in _folders(prefix)
            for of in (hour - _HOUR, hour, hour + _HOUR)
            for each in self._listing.hour(folder, of)
            if _may_hold(hour, each, of, prefix)
        )
        return sorted(found, key=lambda each: each.name)


def is_of_one_hour(name: str) -> bool:
    """Whether a file of this name has rows of its folder's hour alone."""
    return _OF_ONE_HOUR.fullmatch(name) is not None


def begun_at(found: Object) -> datetime:
    """When Firehose got the oldest record of an object, by its name; as early as its folder lets it be, otherwise."""
    folder = parse_hour(found.key) or datetime.fromtimestamp(found.modified, UTC)
    named = _BEGUN.search(found.name)
    try:
        return datetime.strptime(named[1], "%Y-%m-%d-%H-%M-%S").replace(tzinfo=UTC) if named else folder
    except ValueError:
        return folder


def date_of(objects: Collection[Object]) -> int:
    """A date in ns since 1970 that changes with the objects: the newest one's second, and the set's hash behind it.

    S3 dates by the second, and an object that came in parts by when the first was sent. 0 where there are none.
    """
    if not objects:
        return 0
    known = hashlib.blake2b(digest_size=8)
    for key, etag in sorted((each.key, each.etag) for each in objects):
        known.update(f"{key}\0{etag}\0".encode())
    newest = max(each.modified for each in objects)
    return newest * _SECOND + int.from_bytes(known.digest()) % _SECOND


def _may_hold(hour: datetime, found: Object, folder: datetime, prefix: str) -> bool:
    """Whether an object of a folder may have rows that arrived in an hour: its folder's, or one beside it."""
    if hour == folder:
        return True
    if is_of_one_hour(found.name):
        return False
    if hour > folder:
        return found.modified >= (hour - _CLOCKS).timestamp()
    if prefix.startswith(f"{FAILED_PREFIX}/"):  # named after when it failed, which may be long after it came
        return True
    return begun_at(found) < folder + MAX_STAMP_DRIFT


def _folders(prefix: str) -> Iterator[str]:
    yield prefix
    parent, _, stage = prefix.rpartition("/")
    if parent == FAILED_PREFIX:
        yield from (f"{parent}/{folder}" for folder, of in FIREHOSE_STAGES.items() if of == stage)
