"""Landing files as delivery writes them, without a stream: raw, enriched and failed, of events given by tests."""

import gzip
import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Any

import msgspec
import pybase64

from clickstream_assets.failed.errors import ErrorLine
from resources.lake import Lake
from streaming.domain.enrichment import Place, enriched_line, look_up_columns, pending_row
from streaming.domain.envelope import Envelope, open_record, raw_line, stamp
from streaming.domain.events import Event
from streaming.domain.layout import hour_of, hour_prefix
from streaming.domain.tables import ENRICHED_LANDING
from streaming.domain.timestamps import format_timestamp, milliseconds
from streaming.edges.ingestion_api import load_contract
from streaming.edges.parquet import arrow_schema, convert, parquet_bytes

RIVERSIDE = Place("US", "California", "Riverside", 33.95, -117.4)


@dataclass(frozen=True)
class Delivery:
    """One record as the stream took it: an event's text, or any bytes, and when it arrived."""

    event: bytes
    arrival: datetime
    record_id: str
    name: str | None = "Semyon Ryan"
    place: Place | None = RIVERSIDE
    reasons: tuple[str, ...] = ()

    @property
    def envelope(self) -> Envelope:
        wire = stamp(self.event, self.record_id, format_timestamp(self.arrival), None)
        return open_record(wire, self.arrival)


def event_text(timestamp: datetime, click_id: str, **changes: Any) -> bytes:
    """An event that keeps the contract; `changes` replace or add keys."""
    event = {
        "timestamp": f"{timestamp:%Y-%m-%d %H:%M:%S.%f}",
        "user_id": "20",
        "pixel_id": "fytil06mrm",
        "click_id": click_id,
        "insertion_timestamp": f"{timestamp:%Y-%m-%d %H:%M:%S.%f}",
        "event_name": "AddToCart",
        "user_ip": "169.235.214.44",
        "additional_data": {"price": 694.83, "product_id": 361482, "time_on_data": 83, "percent_viewed": 87},
    }
    return json.dumps(event | changes).encode()


def delivery(timestamp: datetime, click_id: str, arrival: datetime, **changes: Any) -> Delivery:
    """A good event, delivered once."""
    identity = hashlib.sha256(f"{timestamp} {click_id} {arrival}".encode()).hexdigest()[:32]
    return Delivery(event_text(timestamp, click_id, **changes), arrival, identity)


def land(lake: Lake, deliveries: Iterable[Delivery], name: str, *, enriched: bool = True) -> None:
    """Write one flush of deliveries: a raw file an hour, and enriched or failed ones unless `enriched` is false."""
    by_hour = sorted(deliveries, key=lambda each: hour_of(each.arrival))
    for hour, some in groupby(by_hour, key=lambda each: hour_of(each.arrival)):
        _land_hour(lake, hour, list(some), name, enriched)


def _land_hour(lake: Lake, hour: datetime, some: Sequence[Delivery], name: str, enriched: bool) -> None:
    raw = b"".join(raw_line(each.envelope) for each in some)
    lake.publish(f"{hour_prefix('raw', hour)}/{name}.json.gz", gzip.compress(raw, mtime=0))
    if not enriched:
        return
    lines, errors = [], []
    for each in some:
        event = load_contract().check(
            each.envelope.text, each.arrival, datetime.min.replace(tzinfo=each.arrival.tzinfo)
        )
        if isinstance(event, Event):
            looked_up = look_up_columns(each.name, each.place, each.reasons, "1/test/users")
            lines.append(enriched_line(pending_row(each.envelope, event), looked_up))
        else:
            errors.append(msgspec.json.encode(_error_line(each)) + b"\n")
    if lines:
        rows = convert(lines, arrow_schema(ENRICHED_LANDING)).rows
        lake.publish(f"{hour_prefix('enriched_landing', hour)}/{name}.parquet", parquet_bytes(rows))
    if errors:
        failed = f"{hour_prefix('failed/enrichment', hour)}/{name}.json.gz"
        lake.publish(failed, gzip.compress(b"".join(errors), mtime=0))


def _error_line(each: Delivery) -> ErrorLine:
    data = pybase64.b64encode_as_string(each.envelope.data)
    return ErrorLine(4, milliseconds(each.arrival), "Lambda.ProcessingFailedStatus", "ProcessingFailed", data)
