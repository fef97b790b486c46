"""Timestamps as the contract knows them: in by two forms, out by one."""

import re
from datetime import UTC, datetime, timedelta

TIMESTAMP_PATTERN = r"^\d{4}-\d{2}-\d{2}[ T]\d{2}:\d{2}:\d{2}(\.\d{1,9})?(Z|[+-]\d{2}:\d{2})?$"

_EPOCH = datetime.fromtimestamp(0, UTC)
_match = re.compile(TIMESTAMP_PATTERN, re.ASCII).fullmatch

# The usual forms with every digit as 0, and what makes UTC of them: a look-up costs a third of the pattern.
_SHAPE = bytes.maketrans(b"123456789", b"0" * 9)
_ZONES = {
    b"0000-00-00 00:00:00.000000": "Z",
    b"0000-00-00T00:00:00.000000": "Z",
    b"0000-00-00 00:00:00.000000Z": "",
    b"0000-00-00T00:00:00.000000Z": "",
}


def parse_timestamp(text: str) -> datetime:
    """Parse the article's form (`2021-07-12 12:01:58.732726`) or ISO 8601 into an aware UTC datetime.

    A timestamp without an offset is UTC. Digits beyond microseconds are cut.

    Raises:
        ValueError: neither form, or no such moment in the calendar.
    """
    zone = _ZONES.get(text.encode().translate(_SHAPE))
    if zone is not None:
        return datetime.fromisoformat(text + zone)
    form = _match(text)
    if form is None:
        raise ValueError(f"{text[:40]!r} is not a timestamp such as 2021-07-12 12:01:58.732726")
    moment = datetime.fromisoformat(text if form[2] else text + "Z")
    if moment.tzinfo is UTC:
        return moment
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError(f"{text!r} lies outside the calendar in UTC") from None


def format_timestamp(moment: datetime) -> str:
    """Write an aware datetime as `2026-11-23T04:05:06.789012Z`: 27 characters that sort as time does."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds").removesuffix("+00:00") + "Z"


def as_utc(moment: datetime) -> datetime:
    """A moment in UTC; one that names no zone is in it.

    Raises:
        OverflowError: it lies outside the calendar in UTC.
    """
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


def milliseconds(moment: datetime) -> int:
    """Whole milliseconds since 1970, as AWS's events carry times. Floating point would lose one now and then."""
    return (moment - _EPOCH) // timedelta(milliseconds=1)
