"""What is not up to date: read from the lake alone, so that whoever asks gets the same answer, at any time.

The sensors ask for it, and so does `clickstream_assets.catch_up`.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date, datetime

from clickstream_assets.aggregates.dependence import FlattenedDays
from clickstream_assets.aggregates.registry import AGGREGATES, Aggregate
from clickstream_assets.aggregates.unload import is_unloaded
from clickstream_assets.enriched.seal import is_closed
from clickstream_assets.flattened.flatten import EventHour, find_event_hours, is_pending
from clickstream_assets.ledger.balance import accounts_until, is_stale, read_ledger
from clickstream_assets.partitions import day_ranges
from resources.delivery import DeliveryProgress
from resources.lake import Lake
from streaming.domain.tables import ENRICHED_LANDING, EVENT_LEDGER, RAW_EVENTS

# A run takes seconds to start, however little it does: work here and there is brought together in so many.
MOST_RUNS = 4


@dataclass(frozen=True)
class ArrivalHours:
    """Hours of arrival to work on: closed ones to seal and balance, open ones to balance as far as they have come."""

    closed: list[datetime]
    open: list[datetime]


def arrival_hours(lake: Lake, progress: DeliveryProgress) -> ArrivalHours:
    """Hours with arrivals that are open, or whose seal or ledger does not account for all of them."""
    lake = lake.snapshot()
    stale = stale_hours(lake)
    closed = [hour for hour in stale if is_closed(hour, lake, progress)]
    return ArrivalHours(closed, sorted(set(stale) - set(closed)))


def unsettled_hours(lake: Lake, since: datetime) -> list[datetime]:
    """The stale hours that were not over by `since`, or to which something came after it: they may yet be settled."""
    lake = lake.snapshot()
    return [hour for hour in stale_hours(lake) if accounts_until(hour, lake) > since.timestamp() * 1e9]


def stale_hours(lake: Lake) -> list[datetime]:
    """Hours of arrival whose seal or ledger does not account for all that came to them; one that is open always is."""
    lake = lake.snapshot()
    prefixes = (RAW_EVENTS.prefix, ENRICHED_LANDING.prefix, *lake.failed_prefixes())
    hours = sorted({hour for prefix in prefixes for hour in lake.landed_hours(prefix)})
    return [hour for hour in hours if is_stale(hour, lake)]


def touched_event_hours(lake: Lake, changed: Collection[datetime] | None = None) -> dict[datetime, EventHour]:
    """The event hours that some hours of arrival touch (None: all that have a ledger), and where their events are."""
    arrivals = lake.hours(EVENT_LEDGER) if changed is None else changed
    touched = {hour.event_hour for balance in read_ledger(arrivals, lake) for hour in balance.touched_event_hours}
    return find_event_hours(touched, lake) if touched else {}


def event_hours(lake: Lake, changed: Collection[datetime] | None = None) -> list[datetime]:
    """The event hours to flatten because of these hours of arrival; one that needs a red hour waits until it is not."""
    lake = lake.snapshot()
    touched = touched_event_hours(lake, changed)
    return sorted(hour for hour, where in touched.items() if is_pending(hour, where, lake))


def days(lake: Lake, changed: Collection[date] | None = None) -> dict[date, list[Aggregate]]:
    """The days of event time to aggregate because these days changed (None: all), and which aggregates are behind."""
    lake = lake.snapshot()
    flattened = FlattenedDays(lake)
    behind: dict[date, list[Aggregate]] = {}
    for aggregate in AGGREGATES:
        asked = flattened.days if changed is None else flattened.dependents(aggregate.depends_on, changed)
        for day in asked:
            if not is_unloaded(aggregate, day, flattened, lake):
                behind.setdefault(day, []).append(aggregate)
    return behind


def aggregate_ranges(behind: Mapping[date, Collection[Aggregate]]) -> dict[tuple[str, str], list[str]]:
    """First and last day of each run that brings days up to date, and the names of the assets it works on.

    What an aggregate reads beside flattened events comes before it.
    """
    ranges: dict[tuple[str, str], list[str]] = {}
    for aggregate in AGGREGATES:
        for first_and_last in day_ranges([day for day, some in behind.items() if aggregate in some], MOST_RUNS):
            names = [*(table.name for table in aggregate.also_reads), aggregate.name]
            ranges.setdefault(first_and_last, []).extend(names)
    return ranges
