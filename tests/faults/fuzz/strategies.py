"""Records of the stream as an enemy writes them: the article's event, mutated as a tree, a text, and in its envelope.

A tree is JSON that can also say what JSON libraries will not: an object is a tuple of members, so that a key may stand
twice, and a number is its text.
"""

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from hypothesis import strategies as st

from streaming.domain.envelope import stamp
from streaming.domain.timestamps import format_timestamp
from tests.faults.fuzz.properties import ARRIVAL
from tests.streaming.domain.strategies import ARTICLE_EVENT


class Number(str):
    """A number as it is written."""

    __slots__ = ()


Object = tuple[tuple[str, Any], ...]


def tree(value: Any) -> Any:
    """The tree of a JSON value."""
    if isinstance(value, dict):
        return tuple((key, tree(member)) for key, member in value.items())
    return Number(json.dumps(value)) if isinstance(value, int | float) else value


def text_of(value: Any) -> str:
    """A tree as JSON text, or what looks like it."""
    match value:
        case Number():
            return str(value)
        case tuple():
            return f"{{{','.join(f'{json.dumps(key)}:{text_of(member)}' for key, member in value)}}}"
        case list():
            return f"[{','.join(map(text_of, value))}]"
    return json.dumps(value, ensure_ascii=False)


_EVENT = tree(ARTICLE_EVENT | {"event_name": "ViewContent"})
_NUMBERS = [
    "0", "-0", "-0.0", "1", "-1", "60", "60.000000000000001", "100", "100.00000000000001", "0.005", "1e15", "1e16",
    "1000000000000000.004", "1E+2", "1e-400", "1e308", "0e99999999999999999999", "4.9e-324",
    "9007199254740991", "9007199254740992", "9007199254740991.0", "9223372036854775808", "18446744073709551616",
    "1180591620717411303424",
]  # fmt: skip
_NO_NUMBERS = ["1e400", "-1e400", "NaN", "Infinity", "-Infinity", "01", "+1", ".5", "1.", "0x10", "1_000", "٣"]
_TIMES = [
    "2021-07-12 20:24:49.536462", "2021-07-12T20:24:49Z", "2021-07-12T20:24:49.123456789+02:00", "2021-07-12 20:30:00",
    "2021-07-12 20:30:00.000001", "2020-12-31 23:59:59", "2021-01-01T00:00:00+00:01", "1970-01-01 00:00:00",
    "2021-02-29 00:00:00", "2021-07-12 24:00:00", "2021-07-12 23:59:60", "0000-01-01 00:00:00",
    "9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00+23:59", "2021-07-12 20:24:49+24:00", "2021-07-12 20:24:4９",
]  # fmt: skip
_TEXTS = [
    "", " ", "\u0000", "\u001f", "\u007f", "\u0085", "\u2028", "\ufeff", "\ud800", "\udfff", "\U0001f600", "é",
    "e\u0301", "null", "NaN", "20\n", "x" * 128, "x" * 129, "\U0001f600" * 128, "'; DROP TABLE x; --", "=1+1", "{}",
    '"', "\\", "Search", "search", "169.235.214.44", "::1", "::ffff:8.8.8.8", "fe80::1%eth0", "2607:f8b0::1",
    *_TIMES,
]  # fmt: skip
_KEYS = [
    *ARTICLE_EVENT, *ARTICLE_EVENT["additional_data"], "record_id", "arrival_timestamp", "client_ip", "event", "extra",
    "name", "country", "missing_reasons", "event_base64", "", " user_id", "USER_ID", "__proto__", "\u0000", "\ud800",
    "a/b~c", "x" * 300, "\U0001f600",
]  # fmt: skip

_numbers = st.sampled_from(_NUMBERS * 3 + _NO_NUMBERS).map(Number)
_scalars = _numbers | st.sampled_from(_TEXTS) | st.sampled_from([None, True, False])
_values = st.recursive(
    _scalars | st.text(max_size=8) | st.integers().map(str).map(Number) | st.floats().map(repr).map(Number),
    lambda inner: (
        st.lists(inner, max_size=3) | st.lists(st.tuples(st.sampled_from(_KEYS), inner), max_size=3).map(tuple)
    ),
    max_leaves=6,
)

Rewrite = Callable[[st.DrawFn, Object], Object]


def _replace(draw: st.DrawFn, members: Object) -> Object:
    at = draw(st.integers(0, len(members) - 1))
    return (*members[:at], (members[at][0], draw(_values)), *members[at + 1 :])


def _mistime(draw: st.DrawFn, members: Object) -> Object:
    time = draw(st.sampled_from(_TIMES))
    return tuple((key, time if key == "timestamp" else value) for key, value in members)


def _renumber(draw: st.DrawFn, members: Object) -> Object:
    key = draw(st.sampled_from([key for key, _ in members]))
    number = draw(_numbers)
    return tuple((name, number if name == key and isinstance(value, Number) else value) for name, value in members)


def _retype(draw: st.DrawFn, members: Object) -> Object:
    at = draw(st.integers(0, len(members) - 1))
    key, value = members[at]
    retyped = str(value) if isinstance(value, Number) else [value] if draw(st.booleans()) else (("a", value),)
    return (*members[:at], (key, retyped), *members[at + 1 :])


def _rename(draw: st.DrawFn, members: Object) -> Object:
    at = draw(st.integers(0, len(members) - 1))
    return (*members[:at], (draw(st.sampled_from(_KEYS)), members[at][1]), *members[at + 1 :])


def _drop(draw: st.DrawFn, members: Object) -> Object:
    at = draw(st.integers(0, len(members) - 1))
    return members[:at] + members[at + 1 :]


def _double(draw: st.DrawFn, members: Object) -> Object:
    key, value = draw(st.sampled_from(members))
    return (*members, (key, draw(st.just(value) | _values)))


def _add(draw: st.DrawFn, members: Object) -> Object:
    at = draw(st.integers(0, len(members)))
    return (*members[:at], (draw(st.sampled_from(_KEYS)), draw(_values)), *members[at:])


def _swap(draw: st.DrawFn, members: Object) -> Object:
    one, other = draw(st.tuples(*[st.integers(0, len(members) - 1)] * 2))
    swapped = list(members)
    swapped[one], swapped[other] = (members[one][0], members[other][1]), (members[other][0], members[one][1])
    return tuple(swapped)


def _nest(draw: st.DrawFn, members: Object) -> Object:
    at, depth = draw(st.integers(0, len(members) - 1)), draw(st.sampled_from([1, 2, 14, 15, 16, 17, 40]))
    key, value = members[at]
    for _ in range(depth):
        value = [value] if draw(st.booleans()) else (("a", value),)
    return (*members[:at], (key, value), *members[at + 1 :])


_REWRITES: list[Rewrite] = [
    _renumber, _renumber, _renumber, _mistime, _replace, _add, _add, _retype, _rename, _drop, _double, _swap, _nest,
]  # fmt: skip


@st.composite
def event_trees(draw: st.DrawFn) -> Any:
    """The article's event after a few rewrites, of itself or of its details."""
    members: Object = _mistime(draw, _EVENT) if draw(st.booleans()) else _EVENT
    for rewrite in draw(st.lists(st.sampled_from(_REWRITES), max_size=2)):
        at = next((number for number, (key, _) in enumerate(members) if key == "additional_data"), None)
        if at is not None and members[at][1] and isinstance(members[at][1], tuple) and draw(st.booleans()):
            members = (*members[:at], (members[at][0], rewrite(draw, members[at][1])), *members[at + 1 :])
        elif members:
            members = rewrite(draw, members)
    return draw(st.sampled_from([members] * 9 + [[members]]))


_SPLICES = [
    b"\n", b"\r\n", b" ", b"\t", b"\x0b", b"\x00", b"\xff", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\\u0000", b"\\ud800",
    b"\\u0075", b"\\", b'"', b"{", b"}", b"]", b",", b":", b"[" * 40, b"/**/", b"}\n{", b"null",
]  # fmt: skip


@st.composite
def event_texts(draw: st.DrawFn) -> bytes:
    """The text of an event tree, now and then cut, spliced or doubled."""
    text = text_of(draw(event_trees())).encode("utf-8", "surrogatepass")
    match draw(st.sampled_from(["as it is"] * 12 + ["cut", "splice", "splice", "double", "pad"])):
        case "cut":
            return text[: draw(st.integers(0, len(text)))]
        case "splice":
            at = draw(st.integers(0, len(text)))
            return text[:at] + draw(st.sampled_from(_SPLICES)) + text[at:]
        case "double":
            return text + draw(st.sampled_from([b"", b"\n", b","])) + text
        case "pad":
            return text[:1] + b" " * draw(st.sampled_from([65_000, 65_536, 70_000])) + text[1:]
    return text


_DRIFTS = [
    *[timedelta(0)] * 6, timedelta(seconds=-1), timedelta(minutes=15), timedelta(minutes=15, microseconds=1),
    timedelta(days=-1),
]  # fmt: skip
_ADDRESSES = [None, None, "203.0.113.7", "::1", "169.235.214.44", "::ffff:8.8.8.8", "999.1.1.1", "abcd", "::::", "x"]
_FORGERIES = [
    (b'"record_id":"', b'"record_id":"F'),
    (b'"client_ip":', b'"client_ip":1,"client_ip":'),
    (b'{"record_id"', b'{ "record_id"'),
    (b'{"record_id"', b'\xef\xbb\xbf{"record_id"'),
    (b',"event":', b',"event":{},"event":'),
    (b'"event":', b'"event":null,"event_base64":"e30=","x":'),
    (b'Z","client', b'+00:00","client'),
    (b"-07-12T", b"-02-30T"),
    *((b"}\n", end) for end in (b"}", b"}\r\n", b"}}\n", b"}\n\n", b"} \x0b\n", b',"event_base64":"e30="}\n')),
]


@st.composite
def records(draw: st.DrawFn) -> bytes:
    """A record of the stream: an event on its own, in an envelope, in a forged one, or in two."""
    event = draw(event_texts())
    form = draw(st.sampled_from(["bare", *["enveloped"] * 5, "forged", "enveloped twice", "any bytes"]))
    if form == "any bytes":
        return draw(st.binary(max_size=60))
    data = event if form == "bare" else draw(_stamped(event))
    if form == "enveloped twice":
        return draw(_stamped(data))
    if form == "forged":
        old, new = draw(st.sampled_from(_FORGERIES))
        return data.replace(old, new, 1)
    return data


@st.composite
def _stamped(draw: st.DrawFn, event: bytes) -> bytes:
    record_id = f"{draw(st.integers(0, 2**128 - 1)):032x}"
    arrival = format_timestamp(ARRIVAL + draw(st.sampled_from(_DRIFTS)))
    return stamp(event, record_id, arrival, draw(st.sampled_from(_ADDRESSES)))
