import json
from base64 import b64decode
from datetime import UTC, datetime, timedelta
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming.domain.envelope import new_record_ids, open_record, raw_line, stamp
from streaming.domain.json_text import is_json
from streaming.domain.timestamps import format_timestamp
from tests.streaming.domain.strategies import ARTICLE_EVENT, event_texts

ARRIVAL = datetime(2026, 11, 23, 4, 5, 6, 789012, tzinfo=UTC)
EVENT = json.dumps(ARTICLE_EVENT, indent=2).encode()
RECORD_ID = "0123456789abcdef0123456789abcdef"


def test_a_stamped_event_opens_as_it_was_stamped() -> None:
    data = stamp(EVENT, RECORD_ID, format_timestamp(ARRIVAL), "203.0.113.7")
    envelope = open_record(data, ARRIVAL + timedelta(seconds=2))
    assert (envelope.record_id, envelope.arrival, envelope.client_ip) == (RECORD_ID, ARRIVAL, "203.0.113.7")
    assert json.loads(envelope.event or b"") == ARTICLE_EVENT
    assert raw_line(envelope) == data
    assert data.count(b"\n") == 1


@given(
    event_texts(),
    st.sampled_from([b"", b" ", b"\n", b"\r\n", b"\x0b"]),
    st.sampled_from([b"}\n", b"}", b"} \n", b"}\r\n", b"}\x0b\n", b"}\n\n"]),
)
def test_the_raw_line_of_a_stamped_event_is_its_wire_form_however_it_came(
    event: bytes, space: bytes, end: bytes
) -> None:
    text = event.replace(b"{", b"{" + space, 1)
    header = stamp(b"", RECORD_ID, format_timestamp(ARRIVAL), None).removesuffix(b"}\n")
    envelope = open_record(header + text + end, ARRIVAL)
    if envelope.record_id == RECORD_ID:
        assert raw_line(envelope) == stamp(text, RECORD_ID, format_timestamp(ARRIVAL), None)
    else:
        assert not is_json(text)


def test_a_bare_event_is_identified_by_its_bytes_and_arrives_with_the_stream() -> None:
    envelope = open_record(EVENT, ARRIVAL)
    assert envelope.record_id == sha256(EVENT).hexdigest()[:32]
    assert envelope.arrival == ARRIVAL
    assert json.loads(raw_line(envelope))["event"] == ARTICLE_EVENT


@pytest.mark.parametrize("data", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b'{"a":1}{"b":2}', b"NaN", b'"\\ud800"'])
def test_bytes_that_are_no_json_travel_whole_in_base64(data: bytes) -> None:
    envelope = open_record(data, ARRIVAL)
    line = json.loads(raw_line(envelope))
    assert envelope.event is None
    assert line["event"] is None
    assert b64decode(line["event_base64"]) == data


@pytest.mark.parametrize("drift", [timedelta(minutes=16), -timedelta(minutes=16), timedelta(days=9000)])
def test_a_stamp_far_from_the_streams_arrival_is_no_edges(drift: timedelta) -> None:
    data = stamp(EVENT, RECORD_ID, format_timestamp(ARRIVAL + drift), None)
    envelope = open_record(data, ARRIVAL)
    assert envelope.record_id != RECORD_ID
    assert envelope.arrival == ARRIVAL


@given(event_texts() | st.binary(max_size=200))
def test_any_bytes_give_one_line_of_json_that_any_parser_reads(data: bytes) -> None:
    line = raw_line(open_record(data, ARRIVAL))
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert json.loads(line)["record_id"] == sha256(data).hexdigest()[:32]


def test_record_ids_are_unique_and_sort_by_request() -> None:
    first = new_record_ids(500)
    ids = first + new_record_ids(500)
    assert len(set(ids)) == 1000
    assert first == sorted(first)
    assert all(len(record_id) == 32 for record_id in ids)
