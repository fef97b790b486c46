"""Partitions: hours and days of UTC, and the keys that Dagster knows them by."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from heapq import nlargest
from typing import NamedTuple, TypeVar

import dagster as dg
from dagster._core.storage.tags import ASSET_PARTITION_RANGE_END_TAG, ASSET_PARTITION_RANGE_START_TAG

from streaming.domain.layout import HOUR

_HOUR_KEY = "%Y-%m-%d-%H:%M"
Moment = TypeVar("Moment", date, datetime)

SINGLE_RUN = dg.BackfillPolicy.single_run()
# The hours upstream that a partition was made from are found in the ledger; the mapping is what the graph can show.
SAME_PERIOD = dg.TimeWindowPartitionMapping(allow_nonexistent_upstream_partitions=True)


class Partitions(NamedTuple):
    """The partitions of the platform's tables; the hour and the day that are going on are among them."""

    hours: dg.HourlyPartitionsDefinition
    days: dg.DailyPartitionsDefinition

    @classmethod
    def since(cls, start: datetime) -> "Partitions":
        """Partitions from a moment on, UTC."""
        first = start.astimezone(UTC)
        return cls(
            dg.HourlyPartitionsDefinition(start_date=first, timezone="UTC", end_offset=1),
            dg.DailyPartitionsDefinition(start_date=first, timezone="UTC", end_offset=1),
        )


def hour_key(hour: datetime) -> str:
    """`2026-11-23-04:00`."""
    return hour.astimezone(UTC).strftime(_HOUR_KEY)


def hour_of_key(key: str) -> datetime:
    """The start of the hour a partition key names."""
    return datetime.strptime(key, _HOUR_KEY).replace(tzinfo=UTC)


def day_of_key(key: str) -> date:
    """The day a partition key names."""
    return date.fromisoformat(key)


def hour_ranges(hours: Iterable[datetime], most: int | None = None) -> list[tuple[str, str]]:
    """First and last key of every run of hours without a gap; the smallest gaps are closed where there are too many."""
    return [(hour_key(first), hour_key(last)) for first, last in _ranges(sorted(hours), HOUR, most)]


def day_ranges(days: Iterable[date], most: int | None = None) -> list[tuple[str, str]]:
    """First and last key of every run of days without a gap; the smallest gaps are closed where there are too many."""
    return [(first.isoformat(), last.isoformat()) for first, last in _ranges(sorted(days), timedelta(days=1), most)]


def range_tags(first: str, last: str) -> dict[str, str]:
    """The tags that make one run work on all partitions from `first` to `last`."""
    return {ASSET_PARTITION_RANGE_START_TAG: first, ASSET_PARTITION_RANGE_END_TAG: last}


def range_of_tags(tags: Mapping[str, str]) -> list[str]:
    """The first and the last partition that a run with these tags works on, once where they are one."""
    ends = (ASSET_PARTITION_RANGE_START_TAG, ASSET_PARTITION_RANGE_END_TAG)
    return list(dict.fromkeys(tags[tag] for tag in ends if tag in tags))


def shown(ranges: Sequence[tuple[str, str]], most: int = 5) -> str:
    """Ranges of keys, to be read: the first few, and how many more."""
    texts = [first if first == last else f"{first} to {last}" for first, last in ranges[:most]]
    return ", ".join([*texts, f"{len(ranges) - most} more"] if len(ranges) > most else texts)


def _ranges(moments: Sequence[Moment], step: timedelta, most: int | None) -> list[tuple[Moment, Moment]]:
    gaps: dict[int, timedelta] = {at: moments[at] - moments[at - 1] for at in range(1, len(moments))}
    wide: list[int] = [at for at, gap in gaps.items() if gap > step]
    starts: list[int] = sorted([0, *(nlargest(most - 1, wide, key=gaps.__getitem__) if most else wide)])
    ends = [*starts[1:], len(moments)]
    return [(moments[start], moments[end - 1]) for start, end in zip(starts, ends, strict=True)] if moments else []
