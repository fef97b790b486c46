"""Replaying failed events: those that pass now are landed, or given to the Lambda again that had failed on them.

What passes keeps its record_id and its arrival, and lands in a file that is named after the identities in it, so that
replaying twice changes nothing. Whatever the outcome, the table `replays` tells of it, once.
"""

import hashlib
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pyarrow.parquet as pq
import pybase64

from clickstream_assets.enriched.heal import landing_name
from clickstream_assets.failed.collect import is_collected, write_failed_events
from clickstream_assets.failed.errors import by_bytes
from clickstream_assets.ledger.balance import is_unsealed
from resources.lake import File, Lake
from resources.warehouse import Source, Warehouse, sql_file
from streaming.domain.enrichment import CODE_VERSION
from streaming.domain.failures import FailureType, Fault
from streaming.domain.layout import hour_prefix
from streaming.domain.tables import ENRICHED_EVENTS, FAILED_EVENTS, REPLAYS
from streaming.domain.timestamps import format_timestamp
from streaming.edges.lake import gzip_bytes
from streaming.edges.look_ups import Finder
from streaming.edges.parquet import parquet_bytes
from streaming.handlers.records import event_judge
from streaming.jobs.enrichment import enrich_records
from streaming.jobs.raw import RawRecord

_log = logging.getLogger(__name__)

# Records of a consumer that fail one after another: what it writes to is down, and the rest would fail like them.
MOST_IN_A_ROW = 20
_CONSUMER_BATCH = 100
_ROWS_READ = 1_000

Function = Callable[[dict[str, Any], Any], Any]


class ConsumerFailingError(Exception):
    """A Lambda fails on every record; what was replayed before stays, and the rest is as it was."""


class Choice(NamedTuple):
    """Which failures: of these types, stages and record_ids (none: all), in hours of arrival (None: any), inclusive."""

    types: tuple[str, ...] = ()
    stages: tuple[str, ...] = ()
    record_ids: tuple[str, ...] = ()
    first_hour: datetime | None = None
    last_hour: datetime | None = None


@dataclass
class Replayed:
    """What became of the chosen failures: how many passed, by the type they had; what failed again, by its fault."""

    dry_run: bool
    chosen: int = 0
    passed: Counter[str] = field(default_factory=Counter)
    failed_again: Counter[tuple[str, str]] = field(default_factory=Counter)
    reasons: dict[tuple[str, str], str] = field(default_factory=dict)
    hours: list[datetime] = field(default_factory=list)


class _Failed(NamedTuple):
    record: RawRecord
    stage: str
    type: str
    known: list[list[str | None]]


class _Outcome(msgspec.Struct):
    """A row of `replays`."""

    record_id: str
    arrival_timestamp: str
    stage: str
    replayed_at: str
    outcome: str
    type: str | None
    field: str | None
    reason: str | None
    handler_version: str

    @property
    def known_as(self) -> list[str | None]:
        return [self.outcome, self.type, self.field, self.reason, self.handler_version]


# What was wrong this time, by record_id; None where nothing was.
_Faults = dict[str, Fault | None]

_encode = msgspec.json.Encoder().encode


def replay(
    choice: Choice,
    lake: Lake,
    warehouse: Warehouse,
    open_look_ups: Callable[[], Finder],
    functions: Mapping[str, Function],
    *,
    dry_run: bool = False,
) -> Replayed:
    """Replay failures, oldest hour of arrival first; a dry run writes nothing.

    Args:
        functions: the handlers of the consumers, by stage; the records of any other stage are enriched.

    Raises:
        ConsumerFailingError: a function fails on everything.
    """
    look_ups = cache(open_look_ups)
    told = Replayed(dry_run)
    with lake.scratch() as scratch:
        chosen = _choose(choice, lake, warehouse, scratch)
        total, done = sum(pq.read_metadata(file).num_rows for file in chosen.values()), 0
        for hour, file in chosen.items():
            told.hours.append(hour)
            for stage, failures in _batches(file, functions):
                records = [each.record for each in failures]
                if stage in functions:
                    faults = _judged(records)
                    good = [record for record in records if faults[record.record_id] is None]
                    if good and not dry_run:  # a consumer passes by what breaks the contract, and says nothing of it
                        faults |= _given(functions[stage], stage, good)
                else:
                    faults = _enriched(hour, records, look_ups(), lake, dry_run=dry_run)
                _count(told, failures, faults)
                if not dry_run:
                    _record(hour, failures, faults, lake)
                done += len(failures)
                _log.info("%d of %d records", done, total)
    return told


def _choose(choice: Choice, lake: Lake, warehouse: Warehouse, scratch: Path) -> dict[datetime, Path]:
    """The chosen failures of every hour that has some, a file an hour."""
    parameters = [list(choice.types), list(choice.stages), list(choice.record_ids)]
    first, last = choice.first_hour, choice.last_hour
    prefixes = lake.failed_prefixes()
    hours = sorted({hour for prefix in prefixes for hour in lake.landed_hours(prefix)})
    wanted = [hour for hour in hours if (first is None or hour >= first) and (last is None or hour <= last)]
    tables = {hour: _failed_events(hour, lake, warehouse, scratch) for hour in wanted}
    failed = {"failed_events": Source(FAILED_EVENTS, list(tables.values()))}
    found = warehouse.select(sql_file("failed/chosen_hours"), parameters, failed)["arrival_hour"].to_pylist()
    having = {arrival_hour.replace(tzinfo=UTC) for arrival_hour in found}
    chosen = {}
    for hour in (hour for hour in wanted if hour in having):
        chosen[hour] = scratch / f"chosen-{hour:%Y%m%d%H}.parquet"
        sources = {
            "failed_events": Source(FAILED_EVENTS, [tables[hour]]),
            "replays": Source(REPLAYS, lake.list_hour(REPLAYS.prefix, hour)),
        }
        warehouse.save(sql_file("failed/chosen_failures"), parameters, sources, chosen[hour], {})
    return chosen


def _failed_events(hour: datetime, lake: Lake, warehouse: Warehouse, scratch: Path) -> File:
    """The hour's failed_events: the table's own where nothing has come since, else as they would be now."""
    table = lake.partition(FAILED_EVENTS, hour)
    is_current = is_collected(hour, lake) and not is_unsealed(hour, lake)
    if table and is_current and lake.written_at(FAILED_EVENTS, hour) > lake.written_at(ENRICHED_EVENTS, hour):
        return table
    file = scratch / f"failed-{hour:%Y%m%d%H}.parquet"
    write_failed_events(hour, lake, warehouse, file)
    return file


def _batches(file: Path, functions: Mapping[str, Function]) -> Iterator[tuple[str, list[_Failed]]]:
    """The failures of an hour, those of a stage together, in batches of about a megabyte."""
    for stage, failures in groupby(_read(file), lambda each: each.stage):
        for batch in by_bytes(failures, lambda each: len(each.record.data)):
            size = _CONSUMER_BATCH if stage in functions else len(batch)
            for start in range(0, len(batch), size):
                yield stage, batch[start : start + size]


def _read(file: Path) -> Iterator[_Failed]:
    with pq.ParquetFile(file) as rows:
        for batch in rows.iter_batches(_ROWS_READ):
            for row in batch.to_pylist():
                arrival = row["arrival_timestamp"].replace(tzinfo=UTC)
                record = RawRecord(row["record_id"], arrival, row["raw_data"])
                yield _Failed(record, row["stage"], row["type"], row["known"])


def _enriched(hour: datetime, records: list[RawRecord], look_ups: Finder, lake: Lake, *, dry_run: bool) -> _Faults:
    """Enrich records and land those that pass."""
    rows, failures = enrich_records(records, look_ups)
    messages = {failure.record.record_id: failure.message for failure in failures}
    passed = [record for record in records if record.record_id not in messages]
    if passed and not dry_run:
        lake.publish(landing_name(hour, "replay", (record.record_id for record in passed)), parquet_bytes(rows))
    judged = _judged([failure.record for failure in failures])
    return {record.record_id: None for record in passed} | {
        record_id: judged[record_id] or Fault(FailureType.PROCESSING_FAILED, "", message)
        for record_id, message in messages.items()
    }


def _judged(records: Iterable[RawRecord]) -> _Faults:
    """What the contract says of records."""
    judge = event_judge()
    answers = ((record.record_id, judge(record.data, record.arrival)[1]) for record in records)
    return {record_id: judged[0] if isinstance(judged, list) else None for record_id, judged in answers}


def _given(function: Function, stage: str, records: list[RawRecord]) -> _Faults:
    """Give records to a consumer's Lambda as the stream does; a batch that fails is split until it is known which."""
    faults: dict[str, Fault | None] = {}
    spans, in_a_row = [records], 0
    while spans:
        span = spans.pop()
        failed_at, reason = _invoke(function, span)
        if reason and failed_at is None and len(span) > 1:
            middle = len(span) // 2
            spans += [span[middle:], span[:middle]]
            continue
        good = len(span) if not reason else failed_at or 0
        faults |= {record.record_id: None for record in span[:good]}
        in_a_row = 0 if good else in_a_row
        if reason:
            faults[span[good].record_id] = Fault(FailureType.PROCESSING_FAILED, "", reason)
            in_a_row += 1
            if span[good + 1 :]:
                spans.append(span[good + 1 :])
        if in_a_row >= MOST_IN_A_ROW:
            raise ConsumerFailingError(f"{stage} failed on {in_a_row} records in a row, on the last with: {reason}")
    return faults


def _invoke(function: Function, records: list[RawRecord]) -> tuple[int | None, str | None]:
    """The position that a Lambda reports as failed, and why it failed; no position where the whole batch did."""
    try:
        answer = function({"Records": [_kinesis_record(record) for record in records]}, None) or {}
    except Exception as error:
        # Data of one record may set off anything; it is the outcome of its replay.
        return None, f"{type(error).__name__}: {error}"
    reported = {item["itemIdentifier"] for item in answer.get("batchItemFailures") or []}
    positions = [position for position, record in enumerate(records) if record.record_id in reported]
    return (positions[0], "reported as failed") if positions else (None, None)


def _kinesis_record(record: RawRecord) -> dict[str, Any]:
    return {
        "kinesis": {
            "partitionKey": record.record_id,
            "sequenceNumber": record.record_id,
            "data": pybase64.b64encode_as_string(record.data),
            "approximateArrivalTimestamp": record.arrival.timestamp(),
        },
        "eventSource": "aws:kinesis",
        "eventName": "aws:kinesis:record",
        "eventID": f"replay:{record.record_id}",
    }


def _count(told: Replayed, failures: list[_Failed], faults: _Faults) -> None:
    told.chosen += len(failures)
    for each in failures:
        fault = faults[each.record.record_id]
        if fault is None:
            told.passed[each.type] += 1
        else:
            told.failed_again[fault.type.value, fault.field] += 1
            told.reasons.setdefault((fault.type.value, fault.field), fault.reason)


def _record(hour: datetime, failures: list[_Failed], faults: _Faults, lake: Lake) -> None:
    """Tell of the outcomes that are not known yet, in one file."""
    now = format_timestamp(datetime.now(UTC))
    outcomes = [_outcome(each, faults[each.record.record_id], now) for each in failures]
    new = [outcome for outcome, each in zip(outcomes, failures, strict=True) if outcome.known_as not in each.known]
    if new:
        named = hashlib.sha256(_encode([[outcome.record_id, outcome.stage, *outcome.known_as] for outcome in new]))
        file = f"{hour_prefix(REPLAYS.prefix, hour)}/replay-{named.hexdigest()[:32]}.json.gz"
        if not lake.exists(file):
            lake.publish(file, gzip_bytes(b"".join(_encode(outcome) + b"\n" for outcome in new)))


def _outcome(failed: _Failed, fault: Fault | None, now: str) -> _Outcome:
    return _Outcome(
        failed.record.record_id,
        format_timestamp(failed.record.arrival),
        failed.stage,
        now,
        "failed" if fault else "passed",
        fault.type.value if fault else None,
        fault.field if fault else None,
        fault.reason if fault else None,
        CODE_VERSION,
    )
