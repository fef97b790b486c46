"""POST /events: what is accepted is on the stream, what is not is refused by type and place, and nothing in between."""

import gzip
import re
import socket
from datetime import UTC, datetime, timedelta

import orjson
import pytest

from streaming.runtime.servers import LOOPBACK
from tests.streaming.runtime.collector.conftest import EVENT, ONE, array, changed
from tests.streaming.runtime.collector_process import CollectorProcess

MEBIBYTE = 1 << 20


def test_one_event_goes_on_the_stream_as_it_was_sent(collector: CollectorProcess) -> None:
    response = collector.post(ONE)
    assert response.status_code == 200
    [envelope] = collector.envelopes()
    assert response.json() == {"accepted": 1, "record_ids": [envelope.record_id]}
    assert re.fullmatch("[0-9a-f]{32}", envelope.record_id)
    assert envelope.event == ONE
    assert abs(envelope.arrival - datetime.now(UTC)) < timedelta(seconds=30)


def test_an_array_is_acknowledged_in_its_order(collector: CollectorProcess) -> None:
    clicks = [f"click-{number}" for number in range(500)]
    response = collector.post(array(*(changed(click_id=click, user_id=click) for click in clicks)))
    by_id = {envelope.record_id: orjson.loads(envelope.event or b"") for envelope in collector.envelopes()}
    assert [by_id[record_id]["click_id"] for record_id in response.json()["record_ids"]] == clicks


def test_events_of_one_user_keep_their_order(collector: CollectorProcess) -> None:
    clicks = [f"click-{number}" for number in range(100)]
    for start in range(0, 100, 20):
        collector.post(array(*(changed(click_id=click) for click in clicks[start : start + 20])))
    assert [orjson.loads(envelope.event or b"")["click_id"] for envelope in collector.envelopes()] == clicks


def test_line_breaks_in_an_event_do_not_break_its_line(collector: CollectorProcess) -> None:
    assert collector.post(orjson.dumps(EVENT, option=orjson.OPT_INDENT_2)).status_code == 200
    [envelope] = collector.envelopes()
    assert orjson.loads(envelope.event or b"") == EVENT
    assert envelope.data.count(b"\n") == 1


@pytest.mark.parametrize("media_type", ["application/json", "application/json; charset=utf-8", "text/plain", ""])
def test_media_types_of_clients_and_beacons(collector: CollectorProcess, media_type: str) -> None:
    assert collector.post(ONE, content_type=media_type).status_code == 200


def test_gzip(collector: CollectorProcess) -> None:
    assert collector.post(gzip.compress(array(ONE, ONE)), content_encoding="gzip").json()["accepted"] == 2


@pytest.mark.parametrize(
    ("body", "errors"),
    [
        (b"", [("", "malformed_json")]),
        (b"null", [("", "schema_violation")]),
        (b"[]", [("", "schema_violation")]),
        (b"[[]]", [("/0", "schema_violation")]),
        (ONE[:-5], [("", "malformed_json")]),
        (array(ONE, ONE[:-5]), [("/1", "malformed_json")]),
        (b"[" + ONE, [("/0", "malformed_json")]),
        (array(ONE) + b"x", [("/0", "malformed_json")]),
        (array(ONE, b""), [("/1", "malformed_json")]),
        (array(ONE, b'{"user_id":"\\ud800"}'), [("/1", "malformed_json")]),
        (array(ONE, b'{"user_id":"\xff"}'), [("/1", "malformed_json")]),
        (array(ONE, ONE.replace(b"417.97", b"NaN")), [("/1", "malformed_json")]),
        (array(ONE, ONE.replace(b"417.97", b"1e400")), [("/1", "malformed_json")]),
        (array(ONE, ONE.replace(b"{", b'{"user_id":"1",', 1)), [("/1", "malformed_json")]),
        (b"[" * 100_000, [("/0", "size_violation")]),
        (array(ONE, changed(note="x" * 65_536)), [("/1", "size_violation")]),
        (array(ONE, ONE[:-1] + b',"note":' + b"[" * 16 + b"]" * 16 + b"}"), [("/1", "size_violation")]),
        (array(ONE, changed(user_id=35)), [("/1/user_id", "schema_violation")]),
        (array(changed(event_name="Browse"), ONE), [("/0/event_name", "schema_violation")]),
        (
            changed(additional_data={"percent_viewed": 101, "price": -1}),
            [("/additional_data/percent_viewed", "schema_violation"), ("/additional_data/price", "schema_violation")],
        ),
        (array(changed(timestamp="1999-01-01 00:00:00")), [("/0/timestamp", "timestamp_out_of_range")]),
        (array(changed(timestamp="2999-01-01 00:00:00")), [("/0/timestamp", "timestamp_out_of_range")]),
        (array(changed(timestamp="2026-02-30 00:00:00")), [("/0/timestamp", "schema_violation")]),
    ],
)
def test_bad_input_is_refused_by_type_and_place_and_nothing_is_accepted(
    collector: CollectorProcess, body: bytes, errors: list[tuple[str, str]]
) -> None:
    assert collector.errors(body) == errors
    assert collector.envelopes() == []


def test_a_refusal_is_a_problem_document(collector: CollectorProcess) -> None:
    response = collector.post(array(ONE, changed(user_id=35)))
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert problem["type"] == "urn:clickstream:problem:invalid-events"
    assert problem["status"] == 400
    assert "35" in problem["errors"][0]["reason"]


def test_partial_accepts_the_good_and_lists_the_refused(collector: CollectorProcess) -> None:
    body = array(ONE, changed(user_id=35), b'{"user_id":"\\ud800"}', changed(click_id="last"))
    response = collector.post(body, params={"partial": "true"})
    assert response.status_code == 200
    answer = response.json()
    assert answer["accepted"] == len(answer["record_ids"]) == 2
    assert [(refused["index"], refused["errors"][0]["type"]) for refused in answer["refused"]] == [
        (1, "schema_violation"),
        (2, "malformed_json"),
    ]
    assert {envelope.record_id for envelope in collector.envelopes()} == set(answer["record_ids"])


@pytest.mark.parametrize("value", ["maybe", "True", "1", ""])
def test_partial_is_true_or_false(collector: CollectorProcess, value: str) -> None:
    response = collector.post(ONE, params={"partial": value})
    assert (response.status_code, response.json()["type"]) == (400, "urn:clickstream:problem:malformed-request")
    assert "partial" in response.json()["detail"]
    assert not collector.envelopes()


def test_partial_false_is_the_default_said_aloud(collector: CollectorProcess) -> None:
    answer = collector.post(ONE, params={"partial": "false"}).json()
    assert (answer["accepted"], "refused" in answer) == (1, False)


def test_partial_with_nothing_good_accepts_nothing(collector: CollectorProcess) -> None:
    answer = collector.post(changed(user_id=35), params={"partial": "true"}).json()
    assert (answer["accepted"], answer["record_ids"], answer["refused"][0]["index"]) == (0, [], 0)


@pytest.mark.parametrize(
    ("status", "kind", "body", "headers"),
    [
        (413, "too-large", array(*[ONE] * 501), {}),
        (413, "too-large", array(*[b"NaN"] * 501), {}),
        (413, "too-large", b" " * (MEBIBYTE + 1), {}),
        (413, "too-large", b" " * (10 * MEBIBYTE), {}),
        (413, "too-large", gzip.compress(b" " * (100 * MEBIBYTE)), {"content_encoding": "gzip"}),
        (400, "malformed-request", ONE, {"content_encoding": "gzip"}),
        (400, "malformed-request", gzip.compress(ONE)[:-9], {"content_encoding": "gzip"}),
        (400, "malformed-request", gzip.compress(ONE) * 2, {"content_encoding": "gzip"}),
        (415, "unsupported-media-type", ONE, {"content_encoding": "br"}),
        (415, "unsupported-media-type", ONE, {"content_type": "application/x-www-form-urlencoded"}),
    ],
    ids=range(10),
)
def test_requests_that_are_not_read_as_events(
    collector: CollectorProcess, status: int, kind: str, body: bytes, headers: dict[str, str]
) -> None:
    response = collector.post(body, **headers)
    assert response.status_code == status
    assert response.json()["type"] == f"urn:clickstream:problem:{kind}"
    assert collector.envelopes() == []


def test_a_declared_length_beyond_all_bounds_is_refused_unread(collector: CollectorProcess) -> None:
    with socket.create_connection((LOOPBACK, collector.port)) as connection:
        connection.settimeout(5)
        connection.sendall(b"POST /events HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n[" % (1 << 40))
        assert connection.recv(65_536).startswith(b"HTTP/1.1 413")


def test_a_preflight_lets_a_beacon_of_any_origin_pass(collector: CollectorProcess) -> None:
    headers = {
        "origin": "https://shop.test",
        "access-control-request-method": "POST",
        "access-control-request-headers": "content-type,x-api-key",
    }
    response = collector.client.options("/events", headers=headers)
    assert response.status_code == 200
    assert response.headers["access-control-allow-origin"] == "https://shop.test"
    assert response.headers["access-control-allow-credentials"] == "true"
    assert "x-api-key" in response.headers["access-control-allow-headers"]
    assert "POST" in response.headers["access-control-allow-methods"]


@pytest.mark.parametrize(("body", "status"), [(ONE, 200), (b"{", 400)])
def test_pages_may_read_the_answer(collector: CollectorProcess, body: bytes, status: int) -> None:
    response = collector.post(body, origin="https://shop.test")
    assert (response.status_code, response.headers["access-control-allow-origin"]) == (status, "https://shop.test")


def test_other_origins_may_not_read_the_metrics(collector: CollectorProcess) -> None:
    response = collector.client.get("/metrics", headers={"origin": "https://shop.test"})
    assert "access-control-allow-origin" not in response.headers


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/events", 405), ("POST", "/nowhere", 404)])
def test_what_is_not_there(collector: CollectorProcess, method: str, path: str, status: int) -> None:
    assert collector.client.request(method, path).status_code == status
