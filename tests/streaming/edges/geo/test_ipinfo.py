"""IpinfoGeo against a stub of ipinfo.io on loopback that answers as the test says."""

import json
import time
from collections.abc import Callable

import pytest

from streaming.domain.enrichment import Place
from streaming.edges.geo.ipinfo import IpinfoGeo
from streaming.edges.geo.places import MissingPlace
from tests.streaming.conftest import RIVERSIDE
from tests.streaming.ipinfo_stub import ANSWER, DETAILS, Answer, StubIpinfo, StubRequest, hang, trickle

RIVERSIDE_PLACE = Place("US", "California", "Riverside", 33.9764, -117.3341)


def test_places_come_from_one_authorised_request(ipinfo: StubIpinfo) -> None:
    assert IpinfoGeo("secret", base_url=ipinfo.url).places([RIVERSIDE]) == {RIVERSIDE: RIVERSIDE_PLACE}
    assert ipinfo.requests == [("/batch", "Bearer secret", [RIVERSIDE])]


def test_a_token_that_is_refused_is_read_anew(ipinfo: StubIpinfo, put_secret: Callable[[str, str], None]) -> None:
    put_secret("ipinfo", "old")
    geo = IpinfoGeo("secretsmanager:ipinfo", deadline_seconds=5, base_url=ipinfo.url)
    assert geo.places([RIVERSIDE]) == {RIVERSIDE: RIVERSIDE_PLACE}
    ipinfo.answer = lambda request: request.reply(
        200 if request.headers["Authorization"] == "Bearer new" else 403, ANSWER
    )
    put_secret("ipinfo", "new")
    assert geo.places([RIVERSIDE]) == {RIVERSIDE: MissingPlace.LOOKUP_FAILED}
    assert geo.places([RIVERSIDE]) == {RIVERSIDE: RIVERSIDE_PLACE}


def test_a_token_that_cannot_be_read_costs_places_only(
    ipinfo: StubIpinfo, put_secret: Callable[[str, str], None]
) -> None:
    put_secret("another", "token")
    geo = IpinfoGeo("secretsmanager:ipinfo", deadline_seconds=5, base_url=ipinfo.url)
    assert geo.places([RIVERSIDE]) == {RIVERSIDE: MissingPlace.LOOKUP_FAILED}
    assert ipinfo.requests == []


def test_only_global_addresses_leave_the_house(ipinfo: StubIpinfo) -> None:
    places = IpinfoGeo("secret", base_url=ipinfo.url).places(["10.0.0.1", "http://169.254.169.254/", RIVERSIDE])
    assert places == {
        "10.0.0.1": MissingPlace.PRIVATE_ADDRESS,
        "http://169.254.169.254/": MissingPlace.INVALID_ADDRESS,
        RIVERSIDE: RIVERSIDE_PLACE,
    }
    assert [ips for _, _, ips in ipinfo.requests] == [[RIVERSIDE]]


def test_one_bad_address_among_999_good_costs_itself_only(ipinfo: StubIpinfo) -> None:
    ipinfo.answer = lambda request: request.reply(
        200, json.dumps({ip: DETAILS | {"ip": ip} for ip in request.server.requests[-1][2]}).encode()
    )
    good = [f"23.40.{i // 250}.{i % 250}" for i in range(999)]
    places = IpinfoGeo("secret", deadline_seconds=5, base_url=ipinfo.url).places([*good, "nonsense"])
    assert places.pop("nonsense") is MissingPlace.INVALID_ADDRESS
    assert set(places.values()) == {RIVERSIDE_PLACE}


def test_more_than_a_thousand_addresses_take_several_requests(ipinfo: StubIpinfo) -> None:
    IpinfoGeo("secret", deadline_seconds=5, base_url=ipinfo.url).places(
        [f"23.{40 + i // 65_536}.{i // 256 % 256}.{i % 256}" for i in range(2_500)]
    )
    assert sorted(len(ips) for _, _, ips in ipinfo.requests) == [500, 1_000, 1_000]


@pytest.mark.parametrize(
    ("details", "place"),
    [
        ({"ip": RIVERSIDE, "bogon": True}, MissingPlace.NOT_FOUND),
        ({"country": "US", "loc": "nowhere", "city": 7, "region": ""}, Place("US")),
        ({"country": "US", "loc": "91,0"}, Place("US")),
        ("no details", MissingPlace.LOOKUP_FAILED),
        (None, MissingPlace.LOOKUP_FAILED),
    ],
)
def test_odd_details_cost_what_is_odd(ipinfo: StubIpinfo, details: object, place: object) -> None:
    ipinfo.answer = lambda request: request.reply(200, json.dumps({RIVERSIDE: details}).encode())
    assert IpinfoGeo("secret", base_url=ipinfo.url).places([RIVERSIDE]) == {RIVERSIDE: place}


def redirect(request: StubRequest) -> None:
    request.reply(307, b"", {"Location": f"{request.server.url}/elsewhere"})


FAILURES: dict[str, Answer] = {
    "429": lambda request: request.reply(429, b"{}", {"Retry-After": "60"}),
    "500": lambda request: request.reply(500, b"oops"),
    "hang": hang,
    "trickle": trickle,
    "truncated": lambda request: request.reply(200, ANSWER[:20], {"Content-Length": str(len(ANSWER))}),
    "half an object": lambda request: request.reply(200, ANSWER[:20]),
    "html": lambda request: request.reply(200, b"<html>sign in</html>"),
    "list": lambda request: request.reply(200, b"[]"),
    "deep": lambda request: request.reply(200, b"[" * 100_000),
    "a lone surrogate": lambda request: request.reply(200, json.dumps({RIVERSIDE: {"city": "\ud800"}}).encode()),
    "not utf-8": lambda request: request.reply(200, b'{"\xff": 1}'),
    "endless": lambda request: request.reply(200, b" " * 3_000_000),
    "redirect": redirect,
}


@pytest.mark.parametrize("failure", FAILURES.values(), ids=FAILURES.keys())
def test_a_failing_ipinfo_costs_places_and_no_more_than_the_deadline(ipinfo: StubIpinfo, failure: Answer) -> None:
    ipinfo.answer = failure
    geo = IpinfoGeo("secret", deadline_seconds=0.3, base_url=ipinfo.url)
    started = time.monotonic()
    assert geo.places([RIVERSIDE]) == {RIVERSIDE: MissingPlace.LOOKUP_FAILED}
    assert time.monotonic() - started < 1.5
    assert [path for path, _, _ in ipinfo.requests] == ["/batch"]


def test_refused_connections_cost_places(free_port: int) -> None:
    geo = IpinfoGeo("secret", base_url=f"http://127.0.0.1:{free_port}")
    assert geo.places([RIVERSIDE]) == {RIVERSIDE: MissingPlace.LOOKUP_FAILED}


def test_after_three_failures_it_is_left_alone(ipinfo: StubIpinfo) -> None:
    ipinfo.answer = FAILURES["500"]
    geo = IpinfoGeo("secret", base_url=ipinfo.url)
    for _ in range(5):
        geo.places([RIVERSIDE])
    assert len(ipinfo.requests) == 3


@pytest.mark.parametrize("retry_after", ["60", "Fri, 31 Dec 2999 23:59:59 GMT", "soon", None])
def test_a_429_is_heeded_at_once(ipinfo: StubIpinfo, retry_after: str | None) -> None:
    headers = {} if retry_after is None else {"Retry-After": retry_after}
    ipinfo.answer = lambda request: request.reply(429, b"", headers)
    geo = IpinfoGeo("secret", base_url=ipinfo.url)
    for _ in range(2):
        geo.places([RIVERSIDE])
    assert len(ipinfo.requests) == 1


def test_it_is_asked_again_when_retry_after_has_passed(ipinfo: StubIpinfo) -> None:
    ipinfo.answer = lambda request: request.reply(429, b"", {"Retry-After": "0"})
    geo = IpinfoGeo("secret", base_url=ipinfo.url)
    geo.places([RIVERSIDE])
    ipinfo.answer = lambda request: request.reply(200, ANSWER)
    assert geo.places([RIVERSIDE]) == {RIVERSIDE: RIVERSIDE_PLACE}
