"""The balance of an hour of arrival: the record_ids of raw against those of enriched and failed, as sets."""

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.parquet as pq

from clickstream_assets.enriched.raw import RAW_IDENTITIES
from clickstream_assets.enriched.seal import GRACE, HOUR, arrivals_changed_at, enriched_files, is_closed
from clickstream_assets.failed.collect import failures_changed_at, is_collected
from resources.event_stream import DeliveryProgress
from resources.lake import Lake, modified_at, partition_file, written_at
from resources.warehouse import Source, Warehouse, sql_file
from streaming.domain.tables import ENRICHED_EVENTS, EVENT_LEDGER, FAILED_EVENTS, RAW_EVENTS

_NEVER = datetime(1970, 1, 1, tzinfo=UTC)


class TouchedHour(NamedTuple):
    """An hour of event time with rows in an hour of arrival, and a hash of these rows."""

    event_hour: datetime
    events: int
    version: str


class Balance(NamedTuple):
    """One row of `event_ledger`."""

    arrival_hour: datetime
    state: str
    raw_records: int
    enriched_records: int
    failed_records: int
    missing_records: int
    unknown_records: int
    repeated_deliveries: int
    repeated_clicks: int
    conflicting_clicks: int
    degraded_records: int
    failures_by_type: str
    touched_event_hours: list[TouchedHour]
    version: str


def publish_balance(hour: datetime, lake: Lake, warehouse: Warehouse, progress: DeliveryProgress) -> Balance:
    """Write the ledger of an hour.

    What delivery has in flight, its files half written, is left out on all sides; while there is any, or a failure that
    failed_events does not hold yet, the hour is open. The file is dated by the moment up to which it accounts for the
    hour: arrivals after that make it stale, and so does the end of an hour that was open.
    """
    closed = is_closed(hour, lake, progress) and is_collected(hour, lake)
    as_of = accounts_until(hour, lake) if closed else _nanoseconds(progress.caught_up_to or _NEVER)
    enriched = enriched_files(hour, lake)
    previous, failed = lake.partition(EVENT_LEDGER, hour), lake.partition(FAILED_EVENTS, hour)
    # A flush writes its raw copy first. Listed last, it is here for whatever of the flush was found above.
    raw = lake.list_hour(RAW_EVENTS.prefix, hour)
    in_flight = [file for file in raw if not progress.has_passed(file)]
    sources = {
        "raw_events": Source(RAW_IDENTITIES, raw),
        "in_flight": Source(RAW_IDENTITIES, in_flight),
        "enriched_events": Source(ENRICHED_EVENTS, enriched),
        "failed_events": Source(FAILED_EVENTS, [failed] if failed else []),
        "previous": Source(EVENT_LEDGER, [previous] if previous else []),
    }
    with lake.publishing(partition_file(EVENT_LEDGER, hour), as_of) as file:
        warehouse.save(sql_file("ledger/event_ledger"), [_naive(hour), closed], sources, file, {})
        return read_balances([file])[0]


def read_balances(files: Iterable[Path]) -> list[Balance]:
    """The rows of ledger files."""
    balances = []
    for file in files:
        with pq.ParquetFile(file) as ledger:  # opened once: it may be replaced meanwhile
            balances += [_balance(row) for row in ledger.read().to_pylist()]
    return balances


def accounts_until(hour: datetime, lake: Lake) -> int:
    """The date, in nanoseconds since 1970, of a ledger that accounts for everything that has come to a closed hour."""
    return max(arrivals_changed_at(hour, lake), _nanoseconds(hour + HOUR + GRACE), failures_changed_at(hour, lake))


def is_stale(hour: datetime, lake: Lake) -> bool:
    """Whether a closed hour is not sealed and balanced, or was not since something came to it or it was rebuilt."""
    return is_unsealed(hour, lake) or _is_unbalanced(hour, lake)


def is_unsealed(hour: datetime, lake: Lake) -> bool:
    """Whether a closed hour is not sealed, or files came to it after it was."""
    # Not "older than": in a lake that was copied, or after the clock was set back, dates need not go up.
    return modified_at(lake.path(partition_file(ENRICHED_EVENTS, hour))) != arrivals_changed_at(hour, lake)


def _is_unbalanced(hour: datetime, lake: Lake) -> bool:
    ledger, *compared = (
        lake.path(partition_file(table, hour)) for table in (EVENT_LEDGER, ENRICHED_EVENTS, FAILED_EVENTS)
    )
    return modified_at(ledger) != accounts_until(hour, lake) or written_at(ledger) < max(map(written_at, compared))


def _balance(row: dict[str, Any]) -> Balance:
    touched = [
        TouchedHour(hour["event_hour"].replace(tzinfo=UTC), hour["events"], hour["version"])
        for hour in row.pop("touched_event_hours")
    ]
    return Balance(**row | {"arrival_hour": row["arrival_hour"].replace(tzinfo=UTC)}, touched_event_hours=touched)


def _naive(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(tzinfo=None)


def _nanoseconds(moment: datetime) -> int:
    return int(moment.timestamp()) * 1_000_000_000
