"""What must hold for any bytes on the stream, whoever put them there."""

from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import duckdb
import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pybase64

from streaming.domain.enrichment import Place
from streaming.domain.envelope import Envelope, open_record, raw_line
from streaming.domain.events import Event
from streaming.domain.failures import FailureType, Fault
from streaming.domain.tables import ENRICHED_LANDING, HIGH_INTENT_VIEWS
from streaming.domain.validation import _canonical
from streaming.edges.geo.places import unusable_address
from streaming.edges.ingestion_api import load_contract
from streaming.edges.look_ups import Found, MissingName
from streaming.edges.parquet import arrow_schema, convert, parquet_bytes
from streaming.handlers.enrichment import enrich
from streaming.handlers.high_intent import high_intent_views
from streaming.handlers.last_access import accesses
from streaming.handlers.records import KinesisEvent, event_judge, good_events
from streaming.jobs.raw import _RawLine

ARRIVAL = datetime(2021, 7, 12, 20, 25, tzinfo=UTC)

_LANDING, _VIEWS = arrow_schema(ENRICHED_LANDING), arrow_schema(HIGH_INTENT_VIEWS)
_decode_raw = msgspec.json.Decoder(_RawLine).decode
_encode = msgspec.json.Encoder().encode
_contract = load_contract()
_database = duckdb.connect(":memory:", config={"threads": 1})

Judged = tuple[Envelope, Event | list[Fault]]


class _Echo:
    """Finds a name for half of the users, and a place for every address that may have one."""

    def find(self, user_ids: Collection[str], ips: Collection[str]) -> Found:
        names = {user_id: MissingName.UNKNOWN_USER if len(user_id) % 2 else f"of {user_id}" for user_id in user_ids}
        return Found(names, {ip: unusable_address(ip) or Place("US", ip, None, 0.5, -0.0) for ip in ips}, "fuzz")


def expect_sound(records: Sequence[bytes]) -> list[Judged]:
    """Hold one batch of the stream's records, as the three Lambdas get it, to everything that must be true of it."""
    judged = [_judge(data) for data in records]
    for envelope, verdict in judged:
        _expect_same_from_raw(envelope, verdict)
        _expect_readable(verdict)
    _expect_enriched_or_failed(records, judged)
    good = list(good_events({"Records": [_kinesis(number, data) for number, data in enumerate(records)]}))
    expected = [
        KinesisEvent(str(number), envelope.record_id, envelope.arrival, verdict)
        for number, (envelope, verdict) in enumerate(judged)
        if isinstance(verdict, Event)
    ]
    assert good == expected
    _expect_seen(good)
    _expect_views(good)
    return judged


def expect_short_cut_agrees(data: bytes) -> None:
    """The typed decoder takes nothing that the schema judges otherwise."""
    text = open_record(data, ARRIVAL).text
    if (short := _canonical(text)) is not None:
        assert _contract._by_schema(text) == short


def _judge(data: bytes) -> Judged:
    return event_judge()(data, ARRIVAL)


def _expect_same_from_raw(envelope: Envelope, verdict: Event | list[Fault]) -> None:
    """The raw copy gives the record back: one line, under its identity, judged alike."""
    line = raw_line(envelope)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert b"\r" not in line
    raw = _decode_raw(line)
    assert (raw.record_id, raw.arrival_timestamp) == (envelope.record_id, envelope.arrival)
    data = line if raw.event_base64 is None else pybase64.b64decode(raw.event_base64, validate=True)
    again, verdict_again = event_judge()(data, raw.arrival_timestamp)
    assert (again.record_id, again.arrival, again.client_ip) == (
        envelope.record_id, envelope.arrival, envelope.client_ip,
    )  # fmt: skip
    assert verdict_again == verdict


def _expect_readable(verdict: Event | list[Fault]) -> None:
    """Faults are there, of a known type, at a JSON Pointer, in words that can be written down."""
    if isinstance(verdict, list):
        assert verdict
        for fault in verdict:
            assert fault.type in FailureType
            assert fault.field == "" or fault.field.startswith("/")
            assert fault.reason
            assert msgspec.json.decode(_encode(fault)) == list(fault)


def _expect_enriched_or_failed(records: Sequence[bytes], judged: Sequence[Judged]) -> None:
    """Every record is answered once, in its place: a row that converts, or its own data back."""
    batch = [
        {
            "recordId": str(number),
            "approximateArrivalTimestamp": round(ARRIVAL.timestamp() * 1000),
            "data": pybase64.b64encode_as_string(data),
        }
        for number, data in enumerate(records)
    ]
    answers = enrich(batch, _Echo())
    assert [answer["recordId"] for answer in answers] == [record["recordId"] for record in batch]
    assert [answer["result"] for answer in answers] == [
        "Ok" if isinstance(verdict, Event) else "ProcessingFailed" for _, verdict in judged
    ]
    failed = [number for number, answer in enumerate(answers) if answer["result"] != "Ok"]
    assert all(answers[number]["data"] == batch[number]["data"] for number in failed)
    lines = [pybase64.b64decode(answer["data"]) for answer in answers if answer["result"] == "Ok"]
    assert all(line.endswith(b"}\n") and line.count(b"\n") == 1 for line in lines)
    rows = _converted(lines, _LANDING)
    good = [(envelope, verdict) for envelope, verdict in judged if isinstance(verdict, Event)]
    assert [_row(row) for row in rows] == [_expected_row(envelope, event) for envelope, event in good]


def _row(row: dict[str, Any]) -> dict[str, Any]:
    assert 0 <= (row["additional_data"]["percent_viewed"] or 0) <= 100
    assert (row["name"] is None) == ("name:" in (row["missing_reasons"] or ""))
    assert (row["country"] is None) == ("place:" in (row["missing_reasons"] or ""))
    return {name: row[name] for name in ("record_id", "arrival_timestamp", *_EVENT_NAMES)}


_EVENT_NAMES = (
    "timestamp", "user_id", "pixel_id", "click_id", "insertion_timestamp", "event_name", "user_ip", "additional_data",
    "extra",
)  # fmt: skip


def _expected_row(envelope: Envelope, event: Event) -> dict[str, Any]:
    values = {name: _plain(getattr(event, name)) for name in _EVENT_NAMES}
    return {"record_id": envelope.record_id, "arrival_timestamp": _plain(envelope.arrival), **values}


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.replace(tzinfo=None)
    return msgspec.structs.asdict(value) if isinstance(value, msgspec.Struct) else value


def _converted(lines: Sequence[bytes], schema: pa.Schema) -> list[dict[str, Any]]:
    """The rows of the Parquet file that lines of JSON become; none may be left out."""
    found = convert(lines, schema)
    assert found.rejected == []
    file = pa.BufferReader(parquet_bytes(found.rows))
    # Without threads: one that still waits for the interpreter when libFuzzer ends the process holds up its end.
    rows: list[dict[str, Any]] = pq.ParquetFile(file, pre_buffer=False).read(use_threads=False).to_pylist()
    return rows


def _kinesis(number: int, data: bytes) -> dict[str, Any]:
    return {
        "eventID": f"shardId-000000000000:{number}",
        "eventSource": "aws:kinesis",
        "kinesis": {
            "partitionKey": "20",
            "sequenceNumber": str(number),
            "data": pybase64.b64encode_as_string(data),
            "approximateArrivalTimestamp": ARRIVAL.timestamp(),
        },
    }


def _expect_seen(good: Sequence[KinesisEvent]) -> None:
    """Each user is seen no later than the record arrived."""
    seen = accesses(good, _Echo())  # type: ignore[arg-type]  # finds as LookUps does
    assert [(access.user_id, access.record_id) for access in seen] == [(e.event.user_id, e.record_id) for e in good]
    assert all(access.moment == min(e.event.timestamp, e.arrival) for access, e in zip(seen, good, strict=True))
    assert all(e.event.timestamp - e.arrival <= timedelta(minutes=5) for e in good)


def _expect_views(good: Sequence[KinesisEvent]) -> None:
    """The stream's SQL finds just the views of more than 60 percent, in order, and its rows convert."""
    views = high_intent_views(good, _database)
    wanted = [
        e for e in good if e.event.event_name == "ViewContent" and (e.event.additional_data.percent_viewed or 0) > 60
    ]
    assert [(view["record_id"], view["user_id"], view["click_id"]) for view in views] == [
        (e.record_id, e.event.user_id, e.event.click_id) for e in wanted
    ]
    rows = _converted([_encode(view) + b"\n" for view in views], _VIEWS)
    assert [(row["event_timestamp"], row["price"], row["product_id"]) for row in rows] == [
        (_plain(e.event.timestamp), e.event.additional_data.price, e.event.additional_data.product_id) for e in wanted
    ]
