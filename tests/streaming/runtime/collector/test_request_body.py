"""Bodies fall apart into events, whatever the events are worth."""

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming.runtime.collector.problems import Refusal
from streaming.runtime.collector.request_body import MAX_EVENTS, split_events

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)
STRICT = VALUES.map(lambda value: json.dumps(value, allow_nan=True).encode())
# What a lenient reader takes and the contract does not: the array must fall apart all the same.
FAULTY = st.sampled_from([b"NaN", b'"\\ud800"', b'{"a":1,"a":2}', b'"\xff\xfe"', b"[Infinity]", b"1e400"])
SPACE = st.text(" \t\r\n", max_size=3).map(str.encode)


@given(st.lists(STRICT | FAULTY, min_size=1, max_size=20), SPACE)
def test_an_array_falls_apart_into_the_texts_of_its_events(texts: list[bytes], space: bytes) -> None:
    body = space + b"[" + (space + b"," + space).join(texts) + space + b"]" + space
    assert split_events(body) == texts


@given(STRICT.filter(lambda text: not text.startswith(b"[")), SPACE)
def test_what_is_no_array_is_one_event(text: bytes, space: bytes) -> None:
    assert split_events(space + text + space) == [text]


NOISE = st.binary() | st.text('[]{},:"\\ 1eNul', max_size=40).map(str.encode)


@given(NOISE | NOISE.map(lambda noise: b"[" + noise))
def test_noise_is_refused_or_left_to_the_contract(noise: bytes) -> None:
    with suppress(Refusal):
        assert 1 <= len(split_events(noise)) <= MAX_EVENTS


@pytest.mark.parametrize("event", [b"1", b"NaN"])
def test_the_most_events_of_one_request(event: bytes) -> None:
    assert len(split_events(b"[" + b",".join([event] * MAX_EVENTS) + b"]")) == MAX_EVENTS
    with pytest.raises(Refusal) as refusal:
        split_events(b"[" + b",".join([event] * (MAX_EVENTS + 1)) + b"]")
    assert refusal.value.problem()["status"] == 413
