"""Lambda `high_intent`: live SQL over the stream.

Runs `sql/stream/high_intent_views.sql` on every batch and puts its rows, lines of JSON by `tables.HIGH_INTENT_VIEWS`,
to the output stream. A row that cannot be put fails its record, and the batch comes again from there.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Any

import duckdb
import msgspec

from streaming.edges.backoff import pause_seconds
from streaming.edges.event_stream import HIGH_INTENT, MAX_PUT_RECORDS, EventStream
from streaming.edges.streams import open_event_stream
from streaming.handlers.records import KinesisEvent, good_events
from streaming.settings import ROOT, load_settings

__all__ = ["high_intent_views", "lambda_handler", "put_rows"]

_SQL = ROOT / "sql" / "stream"
_ATTEMPTS = 4
_FIRST_PAUSE_SECONDS = 0.05
_MAX_PAUSE_SECONDS = 1.0

_encode = msgspec.json.Encoder().encode


def lambda_handler(event: Mapping[str, Any], context: object) -> dict[str, list[dict[str, str]]]:
    """Take a Kinesis batch; names the first record whose row could not be put."""
    events = list(good_events(event))
    rows = high_intent_views(events, _database())
    unsent = {row["record_id"] for row in put_rows(rows, _output())}
    failed = next((e.sequence_number for e in events if e.record_id in unsent), None)
    return {"batchItemFailures": [{"itemIdentifier": failed}] if failed else []}


def high_intent_views(events: Iterable[KinesisEvent], database: duckdb.DuckDBPyConnection) -> list[dict[str, Any]]:
    """The statement's rows over a batch, in the batch's order."""
    source = [_source_row(event) for event in events]
    if not source:
        return []
    database.execute((_SQL / "source_stream.sql").read_text(), [_encode(source).decode()])
    found = database.execute((_SQL / "high_intent_views.sql").read_text())
    columns = [column[0] for column in found.description or ()]
    return [dict(zip(columns, map(_as_utc, row), strict=True)) for row in found.fetchall()]


def put_rows(rows: Sequence[dict[str, Any]], stream: EventStream) -> list[dict[str, Any]]:
    """Put rows under their user's key; what the stream refuses is tried again, and returned when it stays refused."""
    waiting = list(rows)
    for attempt in range(_ATTEMPTS):
        if attempt:
            time.sleep(pause_seconds(attempt, _FIRST_PAUSE_SECONDS, _MAX_PAUSE_SECONDS))
        waiting = [row for row, error_code in _put_once(waiting, stream) if error_code]
        if not waiting:
            break
    return waiting


def _put_once(rows: list[dict[str, Any]], stream: EventStream) -> list[tuple[dict[str, Any], str | None]]:
    records = [(row["user_id"], _encode(row) + b"\n") for row in rows]
    results = [
        result
        for start in range(0, len(records), MAX_PUT_RECORDS)
        for result in stream.put_records(records[start : start + MAX_PUT_RECORDS])
    ]
    return [(row, result.error_code) for row, result in zip(rows, results, strict=True)]


def _source_row(found: KinesisEvent) -> dict[str, Any]:
    event, details = found.event, found.event.additional_data
    return {
        "record_id": found.record_id,
        "arrival_timestamp": found.arrival.replace(tzinfo=None),
        "event_timestamp": event.timestamp.replace(tzinfo=None),
        "user_id": event.user_id,
        "click_id": event.click_id,
        "event_name": event.event_name,
        "percent_viewed": details.percent_viewed,
        "product_id": details.product_id,
        "price": details.price,
    }


def _as_utc(value: Any) -> Any:
    return value.replace(tzinfo=UTC) if isinstance(value, datetime) else value


@cache
def _database() -> duckdb.DuckDBPyConnection:
    return duckdb.connect(":memory:", config={"threads": 1, "python_enable_replacements": False})


@cache
def _output() -> EventStream:
    return open_event_stream(load_settings(), HIGH_INTENT)
