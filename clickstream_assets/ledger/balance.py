"""The balance of an hour of arrival: the record_ids of raw against those of enriched and failed, as sets."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.parquet as pq

from clickstream_assets.enriched.seal import ARRIVALS, GRACE, arrivals_changed_at, enriched_files, is_closed
from clickstream_assets.failed.collect import failure_prefixes, is_collected, write_failed_events
from clickstream_assets.ledger.clicks import compare_clicks
from resources.delivery import DeliveryProgress
from resources.lake import File, Lake, local_paths, written_partition
from resources.warehouse import Source, Warehouse, sql_file
from streaming.domain.failures import CONSUMER_STAGES
from streaming.domain.layout import HOUR, hour_of
from streaming.domain.tables import ENRICHED_EVENTS, EVENT_LEDGER, FAILED_EVENTS, LEDGER_DEFICITS, RAW_EVENTS, Table
from streaming.domain.validation import MAX_CLOCK_SKEW
from streaming.jobs.raw import RAW_IDENTITIES

FEW = 5

# What ledgers of earlier releases do not have. An hour without a version is flattened anew once its ledger has one.
_NOT_COUNTED: dict[str, Any] = {"conflicting_clicks": 0, "conflict_examples": [], "degraded_records": 0}
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
    conflict_examples: list[str]
    degraded_records: int
    failures_by_type: str
    touched_event_hours: list[TouchedHour]
    version: str


def publish_balance(hour: datetime, lake: Lake, warehouse: Warehouse, progress: DeliveryProgress) -> Balance:
    """Write the ledger of an hour.

    What delivery has in flight, its files half written, is left out on all sides; while there is any, or a failure that
    failed_events does not hold yet, the hour is open. The file is dated by the moment up to which it accounts for the
    hour: arrivals after that make it stale, and so does the end of an hour that was open. An hour that another run
    rebuilds meanwhile is balanced anew, for the ledger would look newer than what it did not see.
    """
    compared = _compared(hour, lake)
    balance = _publish(hour, lake, warehouse, progress)
    return balance if _compared(hour, lake) == compared else publish_balance(hour, lake, warehouse, progress)


def _publish(hour: datetime, lake: Lake, warehouse: Warehouse, progress: DeliveryProgress) -> Balance:
    as_of = accounts_until(hour, lake)  # before anything is listed: what comes in between shows as newer
    closed = is_closed(hour, lake, progress) and is_collected(hour, lake)
    if not closed:
        as_of = _nanoseconds(progress.caught_up_to or _NEVER)
    enriched = enriched_files(hour, lake)
    clicks = compare_clicks(enriched, _elsewhere(hour, enriched, lake, warehouse) if closed else {}, lake, warehouse)
    with lake.scratch() as scratch, lake.publishing(EVENT_LEDGER, hour, as_of) as file:
        sources = {
            "identities": Source(None, [_identities(hour, enriched, lake, warehouse, progress, scratch)]),
            "enriched_events": Source(ENRICHED_EVENTS, enriched),
            "previous": _partition(EVENT_LEDGER, hour, lake),
        }
        warehouse.save(sql_file("ledger/event_ledger"), [_naive(hour), closed, *clicks], sources, file, {})
        (balance,) = read_balances([file])
        if balance.state == "red" or lake.partition(LEDGER_DEFICITS, hour):
            # Before the ledger, whose date says that all is done.
            _publish_deficits(balance, sources["identities"], lake, warehouse)
    return balance


def first_deficits(hour: datetime, lake: Lake) -> dict[str, list[str]]:
    """The first few record_ids of an hour that are missing, and that are unknown."""
    found: dict[str, list[str]] = {}
    for side in ("missing", "unknown"):
        file = written_partition(lake, LEDGER_DEFICITS, hour)
        rows = pq.read_table(file, columns=["record_id"], filters=[("side", "==", side)], partitioning=None)
        if rows.num_rows:
            found[side] = rows["record_id"].slice(0, FEW).to_pylist()
    return found


def read_ledger(arrival_hours: Iterable[datetime], lake: Lake) -> list[Balance]:
    """The ledger of some hours of arrival; hours that have none are left out."""
    files = (lake.partition(EVENT_LEDGER, hour) for hour in arrival_hours)
    return read_balances([file for file in files if file])


def read_balances(files: Sequence[File]) -> list[Balance]:
    """The rows of ledger files, also of earlier and later releases: columns they lack count nothing."""
    balances = []
    for file in local_paths(files):
        with pq.ParquetFile(file) as ledger:  # opened once: it may be replaced meanwhile
            balances += [_balance(row) for row in ledger.read().to_pylist()]
    return balances


def accounts_until(hour: datetime, lake: Lake) -> int:
    """The date, in nanoseconds since 1970, of a ledger that accounts for everything that has come to a closed hour."""
    changed_at = lake.changed_at([*ARRIVALS, *failure_prefixes(lake)], hour)
    return max(changed_at, _nanoseconds(hour + HOUR + GRACE))


def is_stale(hour: datetime, lake: Lake) -> bool:
    """Whether a closed hour is not sealed and balanced, or was not since something came to it or it was rebuilt."""
    return is_unsealed(hour, lake) or _is_unbalanced(hour, lake)


def is_unsealed(hour: datetime, lake: Lake) -> bool:
    """Whether a closed hour is not sealed, or files came to it after it was."""
    # Not "older than": in a lake that was copied, or after the clock was set back, dates need not go up.
    return lake.as_of(ENRICHED_EVENTS, hour) != arrivals_changed_at(hour, lake)


def _is_unbalanced(hour: datetime, lake: Lake) -> bool:
    is_outdated = lake.as_of(EVENT_LEDGER, hour) != accounts_until(hour, lake)
    return is_outdated or lake.written_at(EVENT_LEDGER, hour) < max(_compared(hour, lake))


def _compared(hour: datetime, lake: Lake) -> list[int]:
    """When the files that an hour's ledger compares took their place."""
    return [lake.written_at(table, hour) for table in (ENRICHED_EVENTS, FAILED_EVENTS)]


def _identities(
    hour: datetime,
    enriched: Sequence[File],
    lake: Lake,
    warehouse: Warehouse,
    progress: DeliveryProgress,
    scratch: Path,
) -> Path:
    """Every record_id of an hour and where it stands, as a file."""
    failed = _partition(FAILED_EVENTS, hour, lake)
    if not is_collected(hour, lake):  # delivery went on: what it has passed since is among the failed all the same
        failed = Source(FAILED_EVENTS, [scratch / "failed_events.parquet"])
        write_failed_events(hour, lake, warehouse, *failed.files)
    # A flush writes its raw copy first. Listed last, it is here for whatever of the flush was found before.
    raw = lake.list_hour(RAW_EVENTS.prefix, hour)
    sources = {
        "raw_events": Source(RAW_IDENTITIES, raw),
        "in_flight": Source(RAW_IDENTITIES, [file for file in raw if not progress.has_passed(file)]),
        "enriched_events": Source(ENRICHED_EVENTS, enriched),
        "failed_events": failed,
    }
    file = scratch / "identities.parquet"
    warehouse.save(sql_file("ledger/identities"), [list(CONSUMER_STAGES)], sources, file, {})
    return file


def _elsewhere(
    hour: datetime, enriched: Sequence[File], lake: Lake, warehouse: Warehouse
) -> dict[datetime, list[File]]:
    """The other hours of arrival that the ledger found rows in of the event hours that this one touches."""
    sources = {"enriched_events": Source(ENRICHED_EVENTS, enriched)}
    found = warehouse.select(sql_file("ledger/touched_event_hours"), [], sources)["event_hour"].to_pylist()
    touched = {event_hour.replace(tzinfo=UTC) for event_hour in found}
    lake = lake.snapshot()
    first = hour_of(min(touched, default=hour) - MAX_CLOCK_SKEW)
    others = [other for other in lake.hours(EVENT_LEDGER) if other >= first and other != hour]
    return {
        balance.arrival_hour: enriched_files(balance.arrival_hour, lake)
        for balance in read_ledger(others, lake)
        if any(event_hour.events and event_hour.event_hour in touched for event_hour in balance.touched_event_hours)
    }


def _publish_deficits(balance: Balance, identities: Source, lake: Lake, warehouse: Warehouse) -> None:
    """Write what keeps an hour from balancing; no rows, where nothing does any more."""
    parameters = [_naive(balance.arrival_hour), balance.state == "red"]
    with lake.publishing(LEDGER_DEFICITS, balance.arrival_hour) as file:
        warehouse.save(sql_file("ledger/ledger_deficits"), parameters, {"identities": identities}, file, {})


def _partition(table: Table, hour: datetime, lake: Lake) -> Source:
    file = lake.partition(table, hour)
    return Source(table, [file] if file else [])


def _balance(row: dict[str, Any]) -> Balance:
    touched = [
        TouchedHour(hour["event_hour"].replace(tzinfo=UTC), hour["events"], hour.get("version", ""))
        for hour in row["touched_event_hours"]
    ]
    found = _NOT_COUNTED | {name: row[name] for name in Balance._fields if name in row}
    return Balance(**found | {"arrival_hour": row["arrival_hour"].replace(tzinfo=UTC), "touched_event_hours": touched})


def _naive(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(tzinfo=None)


def _nanoseconds(moment: datetime) -> int:
    return int(moment.timestamp()) * 1_000_000_000
