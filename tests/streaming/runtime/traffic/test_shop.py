"""The synthetic shop: the same seed gives the same bytes, and the numbers look like a shop's."""

import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streaming.domain.events import Event
from streaming.edges.ingestion_api import load_contract
from streaming.runtime.traffic.bad_events import SPOILERS, Spoiler
from streaming.runtime.traffic.mixture import Outgoing, mixture
from streaming.runtime.traffic.options import SendOptions
from streaming.runtime.traffic.shop import KNOWN_USERS, Shop, event_json
from streaming.settings import ROOT

UNTIL = datetime(2026, 11, 23, 4, 5, 6, 789_000, tzinfo=UTC)
START = datetime(2025, 1, 1, tzinfo=UTC)
END = round(UNTIL.timestamp() * 1_000_000)
DAY = 86_400_000_000
FACTORS = st.floats(0, 1)


@pytest.fixture(scope="module")
def events() -> list[dict[str, Any]]:
    """50,000 events of one day."""
    return [orjson.loads(event_json(step, step.at)) for step in Shop(1).history(50_000, END - DAY, END)]


def options(**changes: Any) -> SendOptions:
    return SendOptions(**{"url": "", "events": 300, "until": UNTIL} | changes)


@settings(max_examples=30)
@given(
    events=st.integers(1, 400), days=st.floats(0, 40), seed=st.integers(0, 2**32),
    duplicates=FACTORS, late=FACTORS, bad=FACTORS, bad_stream=FACTORS,
)  # fmt: skip
def test_the_same_options_give_the_same_bytes_and_what_was_asked_for(events: int, **changes: Any) -> None:
    asked = options(events=events, **changes)
    first = list(mixture(asked))
    assert first == list(mixture(asked))
    kinds = Counter(outgoing.kind for outgoing in first)
    assert kinds["good"] + kinds["late"] == events
    originals = {outgoing.data for outgoing in first if outgoing.kind in ("good", "late")}
    assert len(originals) == events
    assert {outgoing.data for outgoing in first if outgoing.kind == "duplicate"} <= originals
    for outgoing in first:
        assert_judged_as_meant(outgoing)


def assert_judged_as_meant(outgoing: Outgoing) -> None:
    judged = load_contract().check(outgoing.data, UNTIL, START)
    if outgoing.type:
        assert isinstance(judged, list)
        assert judged[0].type == outgoing.type
    else:
        assert isinstance(judged, Event)
        assert (judged.user_id, judged.timestamp <= UNTIL) == (outgoing.user_id, True)


@pytest.mark.parametrize("spoiler", SPOILERS, ids=range(len(SPOILERS)))
def test_each_way_to_spoil_an_event_fails_with_its_type(spoiler: Spoiler) -> None:
    for step in Shop(2).history(50, END - DAY, END):
        faults = load_contract().check(spoiler.spoil(event_json(step, step.at)), UNTIL, START)
        assert {fault.type for fault in faults} == {spoiler.type}


def test_another_process_draws_the_same_events() -> None:
    script = (
        "import hashlib\nfrom streaming.runtime.traffic.shop import Shop, event_json\n"
        f"steps = Shop(7).history(2_000, {END - DAY}, {END})\n"
        "print(hashlib.sha256(b''.join(event_json(step, step.at) for step in steps)).hexdigest())"
    )
    run = [sys.executable, "-c", script]
    digests = {
        subprocess.run(run, cwd=ROOT, env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True).stdout
        for seed in ("1", "2")
    }
    assert len(digests) == 1


def test_another_seed_draws_others() -> None:
    first, second = ({outgoing.data for outgoing in mixture(options(seed=seed))} for seed in (1, 2))
    assert not first & second


def test_events_come_in_order_of_time_and_inside_their_days(events: list[dict[str, Any]]) -> None:
    times = [event["timestamp"] for event in events]
    assert times == sorted(times)
    assert times[0] >= f"{UNTIL - timedelta(days=1):%Y-%m-%d %H:%M:%S}"
    assert times[-1] < f"{UNTIL:%Y-%m-%d %H:%M:%S.%f}"
    assert len({event["click_id"] for event in events}) == len(events)


def test_the_day_has_a_curve(events: list[dict[str, Any]]) -> None:
    by_hour = Counter(event["timestamp"][11:13] for event in events)
    assert by_hour["01"] > 4 * by_hour["09"]
    assert len(by_hour) == 24


def test_the_funnel_narrows(events: list[dict[str, Any]]) -> None:
    names = Counter(event["event_name"] for event in events)
    assert names["ViewContent"] > names["Search"] > names["AddToCart"] > names["Purchase"] > 0.02 * len(events)


def test_few_users_do_much_and_some_are_unknown(events: list[dict[str, Any]]) -> None:
    users = Counter(int(event["user_id"]) for event in events)
    busiest = sum(count for _, count in users.most_common(100))
    unknown = sum(count for user, count in users.items() if user > KNOWN_USERS)
    assert 0.3 < busiest / len(events) < 0.7
    assert 0.003 < unknown / len(events) < 0.03
    assert len(users) > 900


def test_products_keep_their_prices_and_users_their_pixels(events: list[dict[str, Any]]) -> None:
    prices = {(event["additional_data"]["product_id"], event["additional_data"]["price"]) for event in events}
    assert len({product for product, _ in prices}) == len(prices) > 1_000
    pixels = {(event["user_id"], event["pixel_id"]) for event in events}
    assert len({user for user, _ in pixels}) == len(pixels)
    assert ("20", "fytil06mrm") in pixels


def test_addresses_are_public_and_users_have_few(events: list[dict[str, Any]]) -> None:
    addresses = {(event["user_id"], event["user_ip"]) for event in events}
    assert all(ip_address(address).is_global for _, address in addresses)
    assert max(Counter(user for user, _ in addresses).values()) <= 2


def test_details_are_believable(events: list[dict[str, Any]]) -> None:
    views = [event["additional_data"] for event in events if event["event_name"] == "ViewContent"]
    high_intent = sum(view["percent_viewed"] > 60 for view in views) / len(views)
    assert 0.2 < high_intent < 0.8
    assert all(0 <= view["percent_viewed"] <= 100 and 1 < view["time_on_data"] < 600 for view in views)
    assert all(0 < view["price"] < 5_000 for view in views)


def test_live_steps_come_at_the_rate() -> None:
    steps = Shop(1).live(rate=50)
    times = [next(steps).at / 1_000_000 for _ in range(20_000)]
    assert times == sorted(times)
    assert 40 < 10_000 / (times[-1] - times[-10_001]) < 60


def test_live_events_happen_now() -> None:
    outgoing = next(mixture(options(events=None, rate=10.0)))
    happened = datetime.fromisoformat(orjson.loads(outgoing.data)["timestamp"]).replace(tzinfo=UTC)
    assert abs(datetime.now(UTC) - happened) < timedelta(seconds=5)
