"""Landing on S3: the hours of arrival behind the files of Firehose.

Firehose names a file's folder after its oldest record, and what it holds came in any time from then until it was
delivered; the edge's stamp, by which hours go, lies up to MAX_STAMP_DRIFT before or after the moment when Kinesis took
the record. So an hour is what its own folder, the next, and those before hold of it, each file cut to the rows that
arrived in the hour when it is fetched. Where Firehose has fallen behind in reading, it puts many hours into one file.
What this platform lands itself, such as repairs, is of one hour already.
"""

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple

from resources.aws.s3.listing import Arrivals, Arrived, Day, Listing, Object
from streaming.domain.envelope import MAX_STAMP_DRIFT
from streaming.domain.layout import FAILED_PREFIX, HOUR, failed_prefix, hour_of, parse_hour

# Firehose puts the step that failed into the folder's name; here it goes by the stage's.
FIREHOSE_STAGES = {"processing-failed": "enrichment", "format-conversion-failed": "delivery"}

# How far Firehose may be behind: as long as the template has Kinesis keep records.
LONGEST_LAG = timedelta(hours=48)

# How far the clocks of S3 and of the edge may be apart.
_CLOCKS = timedelta(minutes=1)
_SECOND = 1_000_000_000
_OF_ONE_HOUR = re.compile(r"(?:(?:heal|repair|replay)-[0-9a-f]{32}|shardId-\d+-.+)\..+")
# <stream>-<version>-<moment>-<uuid><extension>
_OF_FIREHOSE = re.compile(r".+-\d+-(?P<begun>\d{4}(?:-\d\d){5})-[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}.*")


class Span(NamedTuple):
    """Between which moments the records of an object arrived."""

    begun: datetime
    ended: datetime


class Landing:
    """The hours of arrival behind a listing of the bucket."""

    def __init__(self, listing: Listing) -> None:
        self._listing = listing

    def failed_prefixes(self) -> list[str]:
        """Where stages record failures, by the names of the stages."""
        folders = self._listing.folders(FAILED_PREFIX)
        return sorted({failed_prefix(FIREHOSE_STAGES.get(folder, folder)) for folder in folders})

    def hours(self, prefix: str) -> list[datetime]:
        """The hours that may have rows, up to the one that goes on."""
        now = datetime.now(UTC)
        every = (self._listing.every_day(folder, _summary(prefix)) for folder in _folders(prefix))
        return sorted({arrived.hour for some in every for arrived in some if arrived.hour <= now})

    def changed_at(self, prefixes: Iterable[str], hour: datetime) -> int:
        """A date in ns since 1970 of all that may have rows of an hour: it changes when an object comes, or changes.

        S3 dates by the second, and an object that came in parts by when the first was sent. So it is the second of the
        newest, and a hash of them all behind it. 0 where there are none.
        """
        found = [
            arrived
            for prefix in prefixes
            for folder in _folders(prefix)
            for day in _days(hour)
            if (arrived := self._listing.arrived(folder, day, _summary(prefix)).get(hour))
        ]
        return max((each.newest for each in found), default=0) * _SECOND + sum(each.mixed for each in found) % _SECOND

    def objects(self, prefix: str, hour: datetime) -> list[Object]:
        """The objects under a prefix that may have rows of an hour, sorted by name."""
        found = (
            each
            for folder in _folders(prefix)
            for day in _days(hour)
            if hour in self._listing.arrived(folder, day, _summary(prefix))
            for of, objects in self._listing.day(folder, day).items()
            for each in objects
            if hour in _hours(each, of, prefix)
        )
        return sorted(found, key=lambda each: each.name)


def is_of_one_hour(name: str) -> bool:
    """Whether a file of this name has rows of its folder's hour alone."""
    return _OF_ONE_HOUR.fullmatch(name) is not None


def begun_of(name: str) -> datetime | None:
    """The moment in the name of a file of Firehose, when it got the oldest record; None: it is no such name."""
    named = _OF_FIREHOSE.fullmatch(name)
    try:
        return datetime.strptime(named["begun"], "%Y-%m-%d-%H-%M-%S").replace(tzinfo=UTC) if named else None
    except ValueError:
        return None


def span_of(found: Object) -> Span:
    """When the records of an object of Firehose arrived; the folder alone is documented as the oldest record's hour."""
    modified = datetime.fromtimestamp(found.modified, UTC)
    folder = parse_hour(found.key) or hour_of(modified)
    return Span(folder, max(folder, min(modified + _CLOCKS, folder + LONGEST_LAG)))


def hours_between(first: datetime, last: datetime) -> Iterator[datetime]:
    """The hours that two moments lie in, and those in between."""
    hour = hour_of(first)
    while hour <= last:
        yield hour
        hour += HOUR


def _summary(prefix: str) -> Callable[[Day], Arrivals]:
    """Says what objects of a prefix come to for the hours that they may have rows of."""

    def summarise(day: Day) -> Arrivals:
        hours: Arrivals = {}
        for of, objects in day.items():
            for each in objects:
                hashed = hashlib.blake2b(f"{each.key}\0{each.etag}".encode(), digest_size=4)
                mixed = int.from_bytes(hashed.digest())
                for hour in _hours(each, of, prefix):
                    _, newest, sum_ = hours.get(hour, (hour, 0, 0))
                    hours[hour] = Arrived(hour, max(newest, each.modified), sum_ + mixed)
        return hours

    return summarise


def _hours(found: Object, folder: datetime, prefix: str) -> Iterator[datetime]:
    """The hours that an object of a folder may have rows of.

    A name that says the folder's hour is taken for when the oldest record came, though only its form is documented:
    else whatever comes would be of the hour before too, which would stay open and be made anew with each file.
    """
    if is_of_one_hour(found.name):
        return iter((folder,))
    begun, ended = span_of(found)
    named = begun_of(found.name)
    if prefix.startswith(f"{FAILED_PREFIX}/"):
        first = folder - HOUR  # failures are named after when they failed, which may be long after they came
    else:
        first = (named if named and hour_of(named) == folder else begun) - MAX_STAMP_DRIFT
    return hours_between(min(first, ended), ended + MAX_STAMP_DRIFT)


def _days(hour: datetime) -> list[date]:
    """The days of the folders whose objects may have rows of an hour."""
    first, last = (hour - LONGEST_LAG).astimezone(UTC).date(), (hour + HOUR).astimezone(UTC).date()
    return [first + timedelta(days=step) for step in range((last - first).days + 1)]


def _folders(prefix: str) -> Iterator[str]:
    yield prefix
    parent, _, stage = prefix.rpartition("/")
    if parent == FAILED_PREFIX:
        yield from (f"{parent}/{folder}" for folder, of in FIREHOSE_STAGES.items() if of == stage)
