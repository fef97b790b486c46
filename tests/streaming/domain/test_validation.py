import json
from collections import Counter
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings

from streaming.domain import validation
from streaming.domain.events import Event
from streaming.domain.failures import FailureType
from streaming.domain.json_text import decode_strict, is_json
from streaming.domain.validation import with_client_ip
from streaming.edges.ingestion_api import load_contract, load_openapi
from tests.streaming.domain.strategies import ARTICLE_EVENT, event_texts

ARRIVAL = datetime(2026, 11, 23, 4, 5, 6, tzinfo=UTC)
START = datetime(2021, 1, 1, tzinfo=UTC)


def text_of(**changes: Any) -> bytes:
    return json.dumps(ARTICLE_EVENT | changes).encode()


def check(event: bytes) -> Event | list[validation.Fault]:
    return load_contract().check(event, ARRIVAL, START)


def accepted(event: bytes) -> Event:
    result = check(event)
    assert isinstance(result, Event), result
    return result


def test_the_articles_event_is_normalised() -> None:
    event = accepted(text_of())
    assert event.timestamp == datetime(2021, 7, 12, 20, 24, 49, 536462, tzinfo=UTC)
    assert event.additional_data.price == Decimal("694.83")
    assert event.extra is None


@pytest.mark.parametrize(
    ("event", "kind", "field"),
    [
        (b"{", FailureType.MALFORMED_JSON, ""),
        (b"\xff", FailureType.MALFORMED_JSON, ""),
        (b'{"a": 1, "a": 2}', FailureType.MALFORMED_JSON, ""),
        (text_of().replace(b"83", b"NaN"), FailureType.MALFORMED_JSON, ""),
        (text_of().replace(b"83", b"1e400"), FailureType.MALFORMED_JSON, ""),
        (text_of().replace(b"83", b"9" * 5000), FailureType.MALFORMED_JSON, ""),
        (text_of(user_id="\ud800"), FailureType.MALFORMED_JSON, ""),
        (
            text_of(additional_data={"time_on_data": 2**70}),
            FailureType.SCHEMA_VIOLATION,
            "/additional_data/time_on_data",
        ),
        (text_of(additional_data={"price": "4.50"}), FailureType.SCHEMA_VIOLATION, "/additional_data/price"),
        (text_of(additional_data={"price": -1}), FailureType.SCHEMA_VIOLATION, "/additional_data/price"),
        (
            text_of(additional_data={"percent_viewed": 100.5}),
            FailureType.SCHEMA_VIOLATION,
            "/additional_data/percent_viewed",
        ),
        (text_of(additional_data=[]), FailureType.SCHEMA_VIOLATION, "/additional_data"),
        (text_of(user_id=20), FailureType.SCHEMA_VIOLATION, "/user_id"),
        (text_of(user_id=""), FailureType.SCHEMA_VIOLATION, "/user_id"),
        (text_of(user_id="a\u0000"), FailureType.SCHEMA_VIOLATION, "/user_id"),
        (text_of(event_name="Buy"), FailureType.SCHEMA_VIOLATION, "/event_name"),
        (text_of(timestamp="2021-02-30 00:00:00"), FailureType.SCHEMA_VIOLATION, "/timestamp"),
        (text_of(timestamp=1626121489), FailureType.SCHEMA_VIOLATION, "/timestamp"),
        (text_of(timestamp="-2021-07-12 20:24:49"), FailureType.SCHEMA_VIOLATION, "/timestamp"),
        (b"[]", FailureType.SCHEMA_VIOLATION, ""),
        (b'{"pixel_id": null}', FailureType.SCHEMA_VIOLATION, "/click_id"),
        (text_of(note="x" * 70_000), FailureType.SIZE_VIOLATION, ""),
        (text_of(note=json.loads("[" * 16 + "]" * 16)), FailureType.SIZE_VIOLATION, ""),
        (b"[" * 60_000, FailureType.SIZE_VIOLATION, ""),
        (text_of(timestamp="2020-12-31 23:59:59"), FailureType.TIMESTAMP_OUT_OF_RANGE, "/timestamp"),
        (text_of(timestamp="2026-11-23 04:10:07"), FailureType.TIMESTAMP_OUT_OF_RANGE, "/timestamp"),
    ],
)
def test_each_kind_of_bad_event_is_typed_with_its_place(event: bytes, kind: FailureType, field: str) -> None:
    result = check(event)
    assert isinstance(result, list)
    assert (result[0].type, result[0].field) == (kind, field)
    assert result[0].reason


def test_every_fault_is_named_not_just_the_first() -> None:
    result = check(text_of(user_id=1, event_name="Buy", timestamp="soon"))
    assert isinstance(result, list)
    assert [fault.field for fault in result] == ["/event_name", "/timestamp", "/user_id"]


def test_event_time_may_run_five_minutes_ahead_of_arrival() -> None:
    accepted(text_of(timestamp="2026-11-23 04:10:06"))


def test_keys_beyond_the_contract_are_kept_in_extra() -> None:
    event = accepted(text_of(name="Mallory", additional_data={"price": 1, "colour": "red"}))
    assert json.loads(event.extra or "") == {"name": "Mallory", "additional_data": {"colour": "red"}}


def test_numbers_are_normalised() -> None:
    details = {"time_on_data": 79.0, "percent_viewed": -0.0, "price": 417.975, "product_id": None}
    found = accepted(text_of(additional_data=details)).additional_data
    assert (found.time_on_data, str(found.percent_viewed), str(found.price)) == (79, "0.0", "417.98")
    assert found.product_id is None


@pytest.mark.parametrize("number", [b"1e-99999999999999999999", b"0e99999999999999999999", b"1e-400"])
def test_an_exponent_beyond_a_decimals_is_nothing_and_no_error(number: bytes) -> None:
    for key in (b'"price"', b'"note"'):
        event = accepted(text_of(additional_data={}).replace(b"{}", b"{%b: %b}" % (key, number)))
        assert event.additional_data.price == (0 if key == b'"price"' else None)


def test_an_address_the_edge_vouches_for_replaces_the_payloads() -> None:
    event = with_client_ip(accepted(text_of(colour="red")), "203.0.113.7")
    assert event.user_ip == "203.0.113.7"
    assert json.loads(event.extra or "") == {"colour": "red", "user_ip": "169.235.214.44"}


def test_the_short_cut_agrees_with_the_schema() -> None:
    taken = Counter[bool]()

    @settings(max_examples=600)
    @given(event_texts())
    def agree(text: bytes) -> None:
        short = validation._canonical(text)
        taken[short is not None] += 1
        if short is not None:
            assert load_contract()._by_schema(text) == short

    agree()
    assert min(taken[True], taken[False]) > 50, "the texts must try both ways"


@settings(max_examples=400)
@given(event_texts())
def test_the_contract_takes_exactly_what_the_published_schema_takes(text: bytes) -> None:
    schema = load_openapi()["components"]["schemas"]["Event"]
    published = is_json(text) and jsonschema.Draft202012Validator(schema).is_valid(decode_strict(text))
    latest, earliest = datetime(9999, 12, 30, tzinfo=UTC), datetime.min.replace(tzinfo=UTC)
    result = load_contract().check(text, latest, earliest)
    if isinstance(result, Event):
        assert published
    elif published:
        beyond_a_schema = {"stands twice", "calendar", "month", "day", "more than 5 minutes"}
        assert all(any(words in fault.reason for words in beyond_a_schema) for fault in result), result
