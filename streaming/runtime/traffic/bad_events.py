"""Every way an event can break the contract, as real clients manage to do it."""

from collections.abc import Callable
from typing import NamedTuple

from streaming.domain.failures import FailureType
from streaming.domain.json_text import MAX_DEPTH
from streaming.domain.validation import MAX_EVENT_BYTES


class Spoiler(NamedTuple):
    """One way to spoil an event as `event_json` writes it, and the type it must then fail with."""

    type: FailureType
    spoil: Callable[[bytes], bytes]


SPOILERS = (
    Spoiler(FailureType.MALFORMED_JSON, lambda event: event[: len(event) // 2]),
    Spoiler(FailureType.MALFORMED_JSON, lambda event: b"<html>" + event),
    Spoiler(FailureType.MALFORMED_JSON, lambda event: event.replace(b'"user_id":"', b'"user_id":"\xff')),
    Spoiler(FailureType.MALFORMED_JSON, lambda event: event.replace(b'"user_id":"', b'"user_id":"\\ud800')),
    Spoiler(FailureType.MALFORMED_JSON, lambda event: _with_price(event, b"NaN")),
    Spoiler(FailureType.MALFORMED_JSON, lambda event: _with_price(event, b"1e400")),
    Spoiler(FailureType.MALFORMED_JSON, lambda event: event.replace(b'"user_id":', b'"user_id":"0","user_id":')),
    Spoiler(FailureType.SCHEMA_VIOLATION, lambda event: event.replace(b'"user_id":', b'"user":')),
    Spoiler(FailureType.SCHEMA_VIOLATION, lambda event: event.replace(b'"event_name":"', b'"event_name":"Un')),
    Spoiler(FailureType.SCHEMA_VIOLATION, lambda event: event.replace(b'"percent_viewed":', b'"percent_viewed":999')),
    Spoiler(FailureType.SCHEMA_VIOLATION, lambda event: event.replace(b'"timestamp":"', b'"timestamp":"around ')),
    Spoiler(FailureType.SCHEMA_VIOLATION, lambda event: _with_price(event, b'"free"')),
    Spoiler(FailureType.SCHEMA_VIOLATION, lambda event: _with_price(event, b"%d" % 2**70)),
    Spoiler(FailureType.TIMESTAMP_OUT_OF_RANGE, lambda event: _with_year(event, b"1996")),
    Spoiler(FailureType.TIMESTAMP_OUT_OF_RANGE, lambda event: _with_year(event, b"2996")),
    Spoiler(FailureType.SIZE_VIOLATION, lambda event: _with_note(event, b"[" * MAX_DEPTH + b"]" * MAX_DEPTH)),
    Spoiler(FailureType.SIZE_VIOLATION, lambda event: _with_note(event, b'"%b"' % (b"x" * MAX_EVENT_BYTES))),
)


def _with_price(event: bytes, price: bytes) -> bytes:
    return event[: event.rindex(b'"price":')] + b'"price":' + price + b"}}"


def _with_year(event: bytes, year: bytes) -> bytes:
    start = event.index(b'"timestamp":"') + len(b'"timestamp":"')
    return event[:start] + year + event[start + 4 :]


def _with_note(event: bytes, note: bytes) -> bytes:
    return b'%b,"note":%b}' % (event[:-1], note)
