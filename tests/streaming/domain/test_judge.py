import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streaming.domain.envelope import open_record, stamp
from streaming.domain.events import Event
from streaming.domain.timestamps import format_timestamp
from streaming.domain.validation import with_client_ip
from streaming.edges.ingestion_api import load_contract
from tests.streaming.domain.strategies import ARTICLE_EVENT, event_texts

ARRIVAL = datetime(2026, 11, 23, 4, 5, 6, tzinfo=UTC)
START = datetime(2021, 1, 1, tzinfo=UTC)

_client_ips = st.none() | st.just("203.0.113.7")
_stamps = st.sampled_from([timedelta(0), timedelta(seconds=1), timedelta(hours=1)])
_odd_bytes = st.sampled_from(
    [
        b"",
        b"not json",
        b"[" * 5000,
        b'{"a": "\xff"}',
        b'{"a": "\\ud800"}',
        b'{"a": 1e400}',
        b'{"user_id": "line\nbreak"}',
        b'{\n"user_id": "20"\n}',
        b'{"a": 1}}',
        b"x" * 70_000,
        json.dumps(ARTICLE_EVENT).encode().replace(b"{", b"{" + b" " * 70_000, 1),
    ]
)


@settings(max_examples=600)
@given(event=event_texts() | _odd_bytes, client_ip=_client_ips, drift=_stamps, enveloped=st.booleans())
def test_judging_is_opening_and_checking(
    event: bytes, client_ip: str | None, drift: timedelta, enveloped: bool
) -> None:
    data = stamp(event, "a" * 32, format_timestamp(ARRIVAL - drift), client_ip) if enveloped else event
    envelope = open_record(data, ARRIVAL)
    checked = load_contract().check(envelope.text, envelope.arrival, START)
    expected = with_client_ip(checked, envelope.client_ip) if isinstance(checked, Event) else checked
    assert load_contract().judge(data, ARRIVAL, START) == (envelope, expected)


@pytest.mark.parametrize("line_break", [b"\n", b"\r\n"])
def test_a_line_break_inside_a_string_is_no_json(line_break: bytes) -> None:
    header = stamp(b"", "a" * 32, format_timestamp(ARRIVAL), None).rstrip()[:-1]
    data = header + b'{"user_id": "2' + line_break + b'0"}}\n'
    assert open_record(data, ARRIVAL).event is None
