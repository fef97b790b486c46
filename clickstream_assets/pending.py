"""What is not up to date: read from the lake alone, so that whoever asks gets the same answer, at any time.

The sensors ask for it, and so does `clickstream_assets.catch_up`.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import date, datetime

from clickstream_assets.aggregates.registry import AGGREGATES, Aggregate
from clickstream_assets.aggregates.unload import is_unloaded
from clickstream_assets.enriched.seal import is_closed
from clickstream_assets.flattened.flatten import EventHour, find_event_hours, is_pending, read_ledger
from clickstream_assets.ledger.balance import is_stale
from resources.event_stream import DeliveryProgress
from resources.lake import Lake
from streaming.domain.tables import ENRICHED_LANDING, EVENT_LEDGER, FLATTENED_EVENTS, RAW_EVENTS


@dataclass(frozen=True)
class ArrivalHours:
    """Hours of arrival to work on: closed ones to seal and balance, open ones to balance as far as they have come."""

    closed: list[datetime]
    open: list[datetime]


def arrival_hours(lake: Lake, progress: DeliveryProgress) -> ArrivalHours:
    """Hours with arrivals that are open, or whose seal or ledger does not account for all of them."""
    prefixes = (RAW_EVENTS.prefix, ENRICHED_LANDING.prefix, *lake.failed_prefixes())
    hours = sorted({hour for prefix in prefixes for hour in lake.hours(prefix)})
    stale = [hour for hour in hours if is_stale(hour, lake)]  # one that is open always is
    closed = [hour for hour in stale if is_closed(hour, lake, progress)]
    return ArrivalHours(closed, sorted(set(stale) - set(closed)))


def touched_event_hours(lake: Lake, changed: Collection[datetime] | None = None) -> dict[datetime, EventHour]:
    """The event hours that some hours of arrival touch (None: all that have a ledger), and where their events are."""
    arrivals = lake.hours(EVENT_LEDGER.prefix) if changed is None else changed
    touched = {hour.event_hour for balance in read_ledger(arrivals, lake) for hour in balance.touched_event_hours}
    return find_event_hours(touched, lake) if touched else {}


def event_hours(lake: Lake, changed: Collection[datetime] | None = None) -> list[datetime]:
    """The event hours to flatten because of these hours of arrival; one that needs a red hour waits until it is not."""
    touched = touched_event_hours(lake, changed)
    return sorted(hour for hour, where in touched.items() if is_pending(hour, where, lake))


def days(lake: Lake, changed: Iterable[date] | None = None) -> dict[date, list[Aggregate]]:
    """The days of event time to aggregate (of these, or of all), and which aggregates are behind."""
    asked = {hour.date() for hour in lake.hours(FLATTENED_EVENTS.prefix)} if changed is None else set(changed)
    behind = {day: [each for each in AGGREGATES if not is_unloaded(each, day, lake)] for day in sorted(asked)}
    return {day: aggregates for day, aggregates in behind.items() if aggregates}
