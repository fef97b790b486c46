"""The contract of an event: JSON text in, a typed event or its faults out.

The JSON schema of the ingestion API is the contract. A canonical event takes a short cut: a typed decoder that accepts
a subset of what the schema accepts. Whatever the short cut does not take is judged by the schema.
"""

import json
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import jsonschema_rs
import msgspec

from streaming.domain.envelope import Envelope, open_record, read_envelope
from streaming.domain.events import AdditionalData, Event, EventName, Identifier
from streaming.domain.failures import FailureType, Fault
from streaming.domain.json_text import InvalidJsonError, TooDeepError, decode_exact, decode_strict
from streaming.domain.timestamps import parse_timestamp

MAX_EVENT_BYTES = 65_536
MAX_CLOCK_SKEW = timedelta(minutes=5)
MAX_INTEGER = 2**53 - 1
MAX_PRICE = Decimal(10**15)

_CENT = Decimal("0.01")
_NO_DETAILS = AdditionalData()


class _CanonicalEvent(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """An event that names no other keys than the contract's."""

    timestamp: str
    user_id: Identifier
    pixel_id: Identifier
    click_id: Identifier
    event_name: EventName
    insertion_timestamp: str
    user_ip: Identifier | None = None
    additional_data: AdditionalData = _NO_DETAILS


_decode_canonical = msgspec.json.Decoder(_CanonicalEvent).decode


class EventContract:
    """Judges events by `schema`, the JSON schema of an event."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self._validator = jsonschema_rs.Draft202012Validator(dict(schema))
        properties = schema["properties"]
        self._keys = frozenset(properties)
        self._detail_keys = frozenset(properties["additional_data"]["properties"])

    def check(self, event: bytes, arrival: datetime, start: datetime) -> Event | list[Fault]:
        """The normalised event, or every fault it has.

        Args:
            event: JSON text.
            arrival: when the edge accepted it; event time may be at most MAX_CLOCK_SKEW later.
            start: the earliest event time that the platform keeps.
        """
        if len(event) > MAX_EVENT_BYTES:
            reason = f"{len(event):,} bytes, at most {MAX_EVENT_BYTES:,} are taken"
            return [Fault(FailureType.SIZE_VIOLATION, "", reason)]
        judged = _canonical(event) or self._by_schema(event)
        return judged if isinstance(judged, list) else _in_time(judged, arrival, start)

    def judge(self, data: bytes, stream_arrival: datetime, start: datetime) -> tuple[Envelope, Event | list[Fault]]:
        """Open a record of the stream and `check` its event, under the address that its edge vouches for.

        The same as `open_record` and `check`, but an enveloped canonical event is decoded only once.
        """
        envelope = read_envelope(data, stream_arrival)
        canonical = _canonical(envelope.text) if envelope and len(envelope.text) <= MAX_EVENT_BYTES else None
        if envelope and canonical:
            judged = _in_time(canonical, envelope.arrival, start)
        else:
            envelope = open_record(data, stream_arrival)
            judged = self.check(envelope.text, envelope.arrival, start)
        return envelope, judged if isinstance(judged, list) else with_client_ip(judged, envelope.client_ip)

    def _by_schema(self, event: bytes) -> Event | list[Fault]:
        try:
            plain = decode_strict(event)
            exact = decode_exact(event)
        except InvalidJsonError as error:
            return [Fault(FailureType.MALFORMED_JSON, "", str(error))]
        except TooDeepError as error:
            return [Fault(FailureType.SIZE_VIOLATION, "", str(error))]
        faults = [_schema_fault(error) for error in self._validator.iter_errors(plain)]
        if isinstance(plain, dict):
            faults += _calendar_faults(plain, {fault.field for fault in faults})
        return sorted(faults, key=lambda fault: fault.field) or self._normalise(exact, self._extra(plain))

    def _extra(self, members: dict[str, Any]) -> str | None:
        """The keys that the contract does not name, as a JSON object."""
        extra = {key: value for key, value in members.items() if key not in self._keys}
        details = members.get("additional_data") or {}
        extra_details = {key: value for key, value in details.items() if key not in self._detail_keys}
        if extra_details:
            extra["additional_data"] = extra_details
        return _json_text(extra) if extra else None

    def _normalise(self, members: dict[str, Any], extra: str | None) -> Event:
        details = members.get("additional_data") or {}
        inserted = members.get("insertion_timestamp")
        return Event(
            timestamp=parse_timestamp(members["timestamp"]),
            user_id=members["user_id"],
            pixel_id=members["pixel_id"],
            click_id=members["click_id"],
            event_name=members["event_name"],
            insertion_timestamp=None if inserted is None else parse_timestamp(inserted),
            user_ip=members.get("user_ip"),
            additional_data=_details(
                **{key: details[key] for key in self._detail_keys if details.get(key) is not None}
            ),
            extra=extra,
        )


def with_client_ip(event: Event, client_ip: str | None) -> Event:
    """The event under the address its edge vouches for; an address the payload claimed instead moves to `extra`."""
    if client_ip is None or client_ip == event.user_ip:
        return event
    if event.user_ip is not None:
        extra = json.loads(event.extra) if event.extra else {}
        event.extra = _json_text(extra | {"user_ip": event.user_ip})
    event.user_ip = client_ip
    return event


def _canonical(event: bytes) -> Event | None:
    """The short cut; None where the schema has to judge.

    Without a backslash no string hides a quote or a control character, and then the number of quotes gives away a key
    that stands twice, a null, and a number in quotes.
    """
    if b"\\" in event:
        return None
    try:
        found = _decode_canonical(event)
        details = found.additional_data
        if event.count(b'"') != _quotes(found) or not _in_range(details):
            return None
        return Event(
            parse_timestamp(found.timestamp),
            found.user_id,
            found.pixel_id,
            found.click_id,
            found.event_name,
            parse_timestamp(found.insertion_timestamp),
            found.user_ip,
            _details(details.time_on_data, details.percent_viewed, details.product_id, details.price),
            None,
        )
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None


def _quotes(found: _CanonicalEvent) -> int:
    """How many quotes the text has when every field that is not None stands in it once and nothing else does."""
    details = found.additional_data
    quotes = 24 if found.user_ip is None else 28
    if details is _NO_DETAILS:
        return quotes
    return (
        quotes
        + 2
        + 2 * (details.time_on_data is not None)
        + 2 * (details.percent_viewed is not None)
        + 2 * (details.product_id is not None)
        + 2 * (details.price is not None)
    )


def _in_range(details: AdditionalData) -> bool:
    return (
        0 <= (details.time_on_data or 0) <= MAX_INTEGER
        and 0 <= (details.percent_viewed or 0) <= 100
        and 0 <= (details.product_id or 0) <= MAX_INTEGER
        and 0 <= (details.price or 0) <= MAX_PRICE
    )


def _details(
    time_on_data: float | Decimal | None = None,
    percent_viewed: float | Decimal | None = None,
    product_id: float | Decimal | None = None,
    price: float | Decimal | None = None,
) -> AdditionalData:
    return AdditionalData(
        None if time_on_data is None else int(time_on_data),
        None if percent_viewed is None else float(percent_viewed) + 0.0,  # -0.0 becomes 0.0
        None if product_id is None else int(product_id),
        None if price is None else abs(Decimal(price).quantize(_CENT, ROUND_HALF_UP)),
    )


def _schema_fault(error: jsonschema_rs.ValidationError) -> Fault:
    path = [str(step) for step in error.instance_path]
    kind = error.kind
    if isinstance(kind, jsonschema_rs.ValidationErrorKind.Required):
        path.append(kind.property)
    field = "".join("/" + step.replace("~", "~0").replace("/", "~1") for step in path)
    return Fault(FailureType.SCHEMA_VIOLATION, field, error.message[:200])


def _calendar_faults(members: dict[str, Any], faulty: set[str]) -> Iterator[Fault]:
    for key in ("timestamp", "insertion_timestamp"):
        if f"/{key}" not in faulty and members.get(key) is not None:
            try:
                parse_timestamp(members[key])
            except ValueError as error:
                yield Fault(FailureType.SCHEMA_VIOLATION, f"/{key}", str(error))


def _in_time(event: Event, arrival: datetime, start: datetime) -> Event | list[Fault]:
    if start <= event.timestamp <= arrival + MAX_CLOCK_SKEW:
        return event
    return [_out_of_range(event.timestamp, arrival, start)]


def _out_of_range(timestamp: datetime, arrival: datetime, start: datetime) -> Fault:
    bound = f"before {start.isoformat()}" if timestamp < start else f"more than 5 minutes after {arrival.isoformat()}"
    return Fault(FailureType.TIMESTAMP_OUT_OF_RANGE, "/timestamp", f"{timestamp.isoformat()} is {bound}")


def _json_text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
