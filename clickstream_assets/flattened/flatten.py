"""Flattening an hour of event time from the hours of arrival in which the ledger found its events."""

import json
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pyarrow.parquet as pq

from clickstream_assets.enriched.seal import enriched_files
from clickstream_assets.ledger.balance import read_ledger
from resources.lake import File, Lake
from resources.spark import JobReport, lake_file, target
from resources.warehouse import Source, Warehouse, sql_file
from streaming.domain.layout import HOUR, hour_of
from streaming.domain.tables import ENRICHED_EVENTS, EVENT_LEDGER, FLATTENED_EVENTS
from streaming.domain.validation import MAX_CLOCK_SKEW
from streaming.jobs.work import FlattenedHour, FlattenWork

# What a flattened file says of itself: the hours of arrival in it, each with the hash of its rows of this event hour.
ARRIVAL_HOURS = "arrival_hours"
STATEMENT = "flatten/flattened_events"
ORDER = ("event_timestamp", "click_id")


class RedLedgerError(Exception):
    """An event hour has records in an hour of arrival whose ledger does not balance."""


@dataclass
class EventHour:
    """Where the events of an event hour are: hours of arrival with a hash of its rows there, and those that are red."""

    arrivals: dict[datetime, str] = field(default_factory=dict)
    red: list[datetime] = field(default_factory=list)


def find_event_hours(hours: Collection[datetime], lake: Lake) -> dict[datetime, EventHour]:
    """Where the ledger found the events of some event hours; event time is at most MAX_CLOCK_SKEW after arrival."""
    found = {hour: EventHour() for hour in hours}
    lake = lake.snapshot()
    first = hour_of(min(hours) - MAX_CLOCK_SKEW)
    arrival_hours = [hour for hour in lake.hours(EVENT_LEDGER) if hour >= first]
    for balance in read_ledger(arrival_hours, lake):
        for touched in balance.touched_event_hours:
            event_hour = found.get(touched.event_hour)
            if event_hour is None:
                continue
            if touched.events:
                event_hour.arrivals[balance.arrival_hour] = touched.version
            if balance.state == "red":  # also where none of its rows is left: they may be what is missing
                event_hour.red.append(balance.arrival_hour)
    return found


def flatten(hour: datetime, event_hour: EventHour, lake: Lake, warehouse: Warehouse) -> int:
    """Write the partition of an event hour; returns its rows.

    Raises:
        RedLedgerError: an hour of arrival it needs does not balance.
    """
    sources = {"enriched_events": Source(ENRICHED_EVENTS, _files(hour, event_hour, lake))}
    with lake.publishing(FLATTENED_EVENTS, hour) as file:
        return warehouse.save(sql_file(STATEMENT), _bounds(hour), sources, file, _file_metadata(event_hour), ORDER)


def flatten_on_spark(
    event_hours: Mapping[datetime, EventHour], lake: Lake, run: Callable[[str, FlattenWork], dict[str, JobReport]]
) -> dict[datetime, dict[str, Any]]:
    """Write the partitions of event hours by one job; `run` runs it. Returns what to tell of each in its metadata.

    Raises:
        RedLedgerError: an hour of arrival that one of them needs does not balance; none is written.
    """
    keys = {hour.isoformat(): hour for hour in event_hours}
    files = {hour: _files(hour, event_hour, lake) for hour, event_hour in event_hours.items()}
    with ExitStack() as publishing:
        hours = []
        for key, hour in keys.items():
            staged = publishing.enter_context(lake.publishing(FLATTENED_EVENTS, hour))
            written = target(staged, key, _file_metadata(event_hours[hour]))
            hours.append(FlattenedHour(written, *_bounds(hour), [lake_file(file) for file in files[hour]]))
        reports = run("flatten", FlattenWork(sql_file(STATEMENT), ORDER, hours))
        return {hour: reports[key].metadata for key, hour in keys.items()}


def changed_arrivals(hour: datetime, event_hour: EventHour, lake: Lake) -> list[datetime]:
    """The hours of arrival whose rows of an event hour are other than those its partition was made from."""
    flattened = lake.partition(FLATTENED_EVENTS, hour)
    says: Mapping[bytes, bytes] = pq.read_metadata(flattened).metadata if flattened else {}
    before: dict[str, str] = json.loads(says.get(ARRIVAL_HOURS.encode(), b"{}"))
    now = _described(event_hour)
    return sorted(
        datetime.fromisoformat(arrival) for arrival in before | now if before.get(arrival) != now.get(arrival)
    )


def is_pending(hour: datetime, event_hour: EventHour, lake: Lake) -> bool:
    """Whether an event hour is to be flattened anew, and can be."""
    return not event_hour.red and bool(changed_arrivals(hour, event_hour, lake))


def repeated_clicks(hours: Iterable[datetime], lake: Lake, warehouse: Warehouse) -> dict[datetime, int]:
    """The event hours of these in which a click_id stands more than once, and by how many rows too many."""
    files = [file for hour in hours if (file := lake.partition(FLATTENED_EVENTS, hour))]
    sources = {"flattened_events": Source(FLATTENED_EVENTS, files)}
    found = warehouse.select(sql_file("flatten/repeated_clicks"), [], sources).to_pylist()
    return {row["event_hour"].replace(tzinfo=UTC): row["repeated"] for row in found}


def _files(hour: datetime, event_hour: EventHour, lake: Lake) -> list[File]:
    if event_hour.red:
        red = ", ".join(f"{arrival:%Y-%m-%d %H:00}" for arrival in event_hour.red)
        raise RedLedgerError(f"{hour:%Y-%m-%d %H:00} is not flattened: the ledger is red for arrival hour {red}")
    return [file for arrival in event_hour.arrivals for file in enriched_files(arrival, lake)]


def _bounds(hour: datetime) -> tuple[datetime, datetime]:
    start = hour.astimezone(UTC).replace(tzinfo=None)
    return start, start + HOUR


def _file_metadata(event_hour: EventHour) -> dict[str, str]:
    return {ARRIVAL_HOURS: json.dumps(_described(event_hour))}


def _described(event_hour: EventHour) -> dict[str, str]:
    return {arrival.isoformat(): version for arrival, version in sorted(event_hour.arrivals.items())}
