"""Classifiers are asked in order; what none of a table's recognises is foreign."""

import json

import pytest

from streaming.domain.classifiers import (
    CUSTOM_CLASSIFIERS,
    ENVELOPED_BYTES,
    ENVELOPED_EVENT,
    PLAIN_JSON,
    Classifier,
    classifiers_of,
    classify,
)
from streaming.domain.envelope import open_record, raw_line
from streaming.domain.tables import RAW_EVENTS, REPLAYS
from tests.clickstream_assets.conftest import NOW
from tests.landing import event_text

ENVELOPE = {"record_id": "0" * 32, "arrival_timestamp": "2026-11-20T10:05:00.000000Z", "client_ip": None}


@pytest.mark.parametrize(
    ("line", "recognised"),
    [
        (ENVELOPE | {"event": {"click_id": "a"}}, ENVELOPED_EVENT),
        (ENVELOPE | {"event": 5}, ENVELOPED_EVENT),
        (ENVELOPE | {"event": None, "event_base64": "eA=="}, ENVELOPED_BYTES),
        (ENVELOPE | {"event": None}, None),
        (ENVELOPE, None),
        ({"event": {"click_id": "a"}}, None),
        ({"click_id": "a", "event_name": "Search"}, None),
        ([ENVELOPE], None),
        ("event", None),
        (None, None),
    ],
)
def test_raw_lines_are_recognised_by_their_envelope(line: object, recognised: Classifier | None) -> None:
    assert classify(line, classifiers_of(RAW_EVENTS)) == recognised


@pytest.mark.parametrize(
    ("data", "recognised"), [(event_text(NOW, "a"), ENVELOPED_EVENT), (b"<html>", ENVELOPED_BYTES)]
)
def test_every_line_that_delivery_writes_is_recognised(data: bytes, recognised: Classifier) -> None:
    line = json.loads(raw_line(open_record(data, NOW)))
    assert classify(line, classifiers_of(RAW_EVENTS)) == recognised


def test_the_first_that_recognises_a_line_wins() -> None:
    line = ENVELOPE | {"event": {}, "event_base64": "eA=="}
    assert classify(line, [ENVELOPED_EVENT, ENVELOPED_BYTES, PLAIN_JSON]) == ENVELOPED_EVENT
    assert classify(line, [PLAIN_JSON, ENVELOPED_EVENT]) == PLAIN_JSON


def test_a_table_without_classifiers_of_its_own_holds_plain_objects() -> None:
    assert classify({"record_id": "a"}, classifiers_of(REPLAYS)) == PLAIN_JSON
    assert classify([], classifiers_of(REPLAYS)) is None


def test_a_crawler_of_glue_takes_them_as_they_are() -> None:
    """It knows a name of letters, digits and underscores, and a JsonPath of members."""
    for classifiers in CUSTOM_CLASSIFIERS.values():
        for classifier in classifiers:
            assert classifier.name.isidentifier()
            assert classifier.json_path == f"$.{classifier.member}"
