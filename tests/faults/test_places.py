"""Faults of ipinfo.io, which a stub on loopback stands for."""

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from tests.faults.platform import Platform
from tests.landing import event_text
from tests.streaming.edges.geo.test_ipinfo import FAILURES
from tests.streaming.ipinfo_stub import StubIpinfo, hang, locate

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

DEADLINE_SECONDS = 1.0
# Of a flush: its buffer, what a busy machine needs, and far less than a hanging ipinfo takes.
FLUSH_SECONDS = 15.0
# Each ends with the failure that opens the breaker: the third in a row, or a 429.
ROUNDS = (("truncated", "html", "500"), ("hang", "429"))


@pytest.fixture(scope="module")
def ipinfo() -> Iterator[StubIpinfo]:
    with StubIpinfo() as stub:
        stub.answer = locate
        yield stub


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory, ipinfo: StubIpinfo) -> Iterator[Platform]:
    settings = {
        "IPINFO_TOKEN": "secret",
        "IPINFO_URL": ipinfo.url,
        "CLICKSTREAM_LOOKUP_DEADLINE_SECONDS": f"{DEADLINE_SECONDS}",
    }
    with Platform(tmp_path_factory.mktemp("platform") / "home", **settings) as running:
        yield running


def test_17_one_bad_address_among_999_good(platform: Platform) -> None:
    addresses = [f"23.40.{number // 250}.{number % 250}" for number in range(999)]
    addresses.insert(500, "23.40.500.1")
    events = [_event(f"bad-address-{number}", address) for number, address in enumerate(addresses)]
    platform.stop("delivery")
    platform.put(events[:500])
    platform.put(events[500:])
    platform.resume("delivery")
    platform.expect_invariant()
    places = "SELECT city, missing_reasons AS why, count(*) AS n FROM enriched_events GROUP BY ALL ORDER BY n DESC"
    assert platform.query(places) == [
        {"city": "Riverside", "why": None, "n": 999},
        {"city": None, "why": "place:invalid_address", "n": 1},
    ]


def test_18_ipinfo_429_500_hangs_truncates_and_answers_html(platform: Platform, ipinfo: StubIpinfo) -> None:
    known = "23.41.0.1"
    _deliver(platform, [_event("known", known)])
    _grow_stale(platform, known)
    for failures in ROUNDS:
        platform.restart("delivery", "consumers")  # they remember places for half a minute, and what failed
        for number, failure in enumerate(failures):
            ipinfo.answer = hang if failure == "hang" else FAILURES[failure]
            asked = len(ipinfo.requests)
            started = time.monotonic()
            _deliver(platform, [_event(f"{failure}-stale", known), _event(f"{failure}-new", f"23.42.0.{number}")])
            assert time.monotonic() - started < DEADLINE_SECONDS + FLUSH_SECONDS
            assert len(ipinfo.requests) > asked
        asked = len(ipinfo.requests)
        _deliver(platform, [_event(f"{failures[-1]}-open", "23.43.0.1")])
        assert len(ipinfo.requests) == asked, "the breaker is closed"
    platform.expect_invariant()
    columns = "click_id, city, missing_reasons AS why"
    rows = platform.query(f"SELECT {columns} FROM enriched_events WHERE click_id NOT LIKE 'bad-address-%'")
    located = {row["click_id"] for row in rows if (row["city"], row["why"]) == ("Riverside", None)}
    missed = {row["click_id"] for row in rows if (row["city"], row["why"]) == (None, "place:lookup_failed")}
    failures = [failure for some in ROUNDS for failure in some]
    assert located == {"known", *(f"{failure}-stale" for failure in failures)}
    assert missed == {*(f"{failure}-new" for failure in failures), *(f"{some[-1]}-open" for some in ROUNDS)}


def _event(click_id: str, address: str) -> bytes:
    return event_text(datetime.now(UTC), click_id, user_ip=address)


def _deliver(platform: Platform, events: list[bytes]) -> None:
    platform.put(events)
    platform.wait_delivered()


def _grow_stale(platform: Platform, address: str) -> None:
    """Let the day pass for which a place is fresh."""
    with platform.cache_server() as cache:
        place = json.loads(str(cache.get(f"geo:{address}")))
        cache.set(f"geo:{address}", json.dumps({**place, "fresh_until": 0}), keepttl=True)
