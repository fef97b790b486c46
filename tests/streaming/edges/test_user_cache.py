from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
import redis
from hypothesis import given, settings
from hypothesis import strategies as st

from streaming.edges.user_cache import CachedPlace, LastAccess, UserCache

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
PLACE = CachedPlace("build", 1e10, "US", "California", "Riverside", 33.9764, -117.3341)


@pytest.fixture
def user_cache(cache_redis_url: str) -> UserCache:
    return UserCache(cache_redis_url)


def test_an_empty_cache_knows_nobody(user_cache: UserCache) -> None:
    assert user_cache.look_up(["20"], ["1.1.1.1"]) == ({}, {}, None)
    assert user_cache.look_up([], []) == ({}, {}, None)
    assert user_cache.last_accesses(["20"]) == {}
    assert user_cache.watermark() is None


def test_names_places_and_watermark_in_one_look_up(user_cache: UserCache) -> None:
    user_cache.put_names({"20": "Semyon Ryan", "zoë": "Zoë 😀"})
    user_cache.put_places([("1.1.1.1", PLACE, 60)])
    user_cache.advance_watermark(NOON)
    assert user_cache.look_up(["20", "x", "zoë"], ["2.2.2.2", "1.1.1.1"]) == (
        {"20": "Semyon Ryan", "zoë": "Zoë 😀"},
        {"1.1.1.1": PLACE},
        "2026-11-23T12:00:00.000000Z",
    )


def test_a_key_of_another_type_costs_its_own_user_and_address_alone(
    user_cache: UserCache, cache_redis_url: str
) -> None:
    user_cache.put_names({"20": "Semyon Ryan"})
    user_cache.put_places([("1.1.1.1", PLACE, 60)])
    with redis.Redis.from_url(cache_redis_url) as client:
        client.rpush("user:21", "a list")
        client.rpush("geo:2.2.2.2", "a list")
    found = user_cache.look_up(["21", "20"], ["2.2.2.2", "1.1.1.1"])
    assert (found.names, found.places) == ({"20": "Semyon Ryan"}, {"1.1.1.1": PLACE})


def test_thousands_of_users_fit_one_look_up(user_cache: UserCache) -> None:
    names = {str(user): f"Name {user}" for user in range(20_000)}
    user_cache.put_names(names)
    user_cache.put_places([(f"23.0.{i // 256}.{i % 256}", PLACE, 60) for i in range(20_000)])
    found = user_cache.look_up(list(names), [f"23.0.{i // 256}.{i % 256}" for i in range(20_000)])
    assert found.names == names
    assert len(found.places) == 20_000


def test_the_layout_that_others_read(user_cache: UserCache, cache_redis_url: str) -> None:
    user_cache.put_names({"20": "Semyon Ryan"})
    user_cache.put_last_access([LastAccess("20", NOON, "a" * 32, "Riverside, California, US")])
    user_cache.put_places([("1.1.1.1", PLACE, 60)])
    with redis.Redis.from_url(cache_redis_url, decode_responses=True) as client:
        user = client.hgetall("user:20")
        assert 0 < client.ttl("geo:1.1.1.1") <= 60
        assert client.ttl("user:20") == -1
    assert {key: user[key] for key in ("name", "last_access", "location")} == {
        "name": "Semyon Ryan",
        "last_access": "2026-11-23T12:00:00.000000Z",
        "location": "Riverside, California, US",
    }


def test_a_name_can_be_removed(user_cache: UserCache) -> None:
    user_cache.put_names({"20": "Semyon Ryan"})
    user_cache.put_names({"20": None, "21": None})
    assert user_cache.look_up(["20", "21"], []).names == {}


def test_the_watermark_never_moves_back(user_cache: UserCache) -> None:
    user_cache.advance_watermark(NOON)
    user_cache.advance_watermark(NOON - timedelta(seconds=1))
    assert user_cache.watermark() == NOON


@pytest.mark.parametrize("text", ["", "null", "[]", "{}", '{"build": 1}', "\x00"])
def test_a_place_that_cannot_be_read_is_not_there(user_cache: UserCache, cache_redis_url: str, text: str) -> None:
    with redis.Redis.from_url(cache_redis_url) as client:
        client.set("geo:1.1.1.1", text)
    assert user_cache.look_up([], ["1.1.1.1"]).places == {}


def test_a_tie_goes_to_the_higher_record(user_cache: UserCache) -> None:
    low, high = LastAccess("20", NOON, "a" * 32, "Low"), LastAccess("20", NOON, "b" * 32, "High")
    assert user_cache.put_last_access([high, low]) == 1
    assert user_cache.put_last_access([low]) == 0
    assert user_cache.last_accesses(["20"]) == {"20": (NOON, "High")}


def test_the_same_event_again_may_bring_the_location(user_cache: UserCache) -> None:
    user_cache.put_last_access([LastAccess("20", NOON, "a" * 32, "")])
    user_cache.put_last_access([LastAccess("20", NOON, "a" * 32, "Riverside")])
    user_cache.put_last_access([LastAccess("20", NOON, "a" * 32, "")])
    assert user_cache.last_accesses(["20"]) == {"20": (NOON, "Riverside")}


_accesses = st.lists(
    st.tuples(st.sampled_from(["20", "35"]), st.integers(0, 5), st.integers(0, 10**6)), min_size=1, max_size=12
)


@settings(max_examples=50)
@given(seen=_accesses, data=st.data())
def test_any_order_repetition_and_batching_gives_the_same(
    cache_redis_url: str, seen: list[tuple[str, int, int]], data: st.DataObject
) -> None:
    accesses = [
        LastAccess(user_id, NOON + timedelta(seconds=second), f"{record:032x}", f"City {user_id} {second} {record}")
        for user_id, second, record in seen
    ]
    replayed = data.draw(st.permutations(accesses + accesses))
    cuts = sorted(data.draw(st.sets(st.integers(1, len(replayed)))) | {0, len(replayed)})
    cache = UserCache(cache_redis_url)
    with redis.Redis.from_url(cache_redis_url) as client:
        client.flushall()
    for start, end in pairwise(cuts):
        cache.put_last_access(replayed[start:end])
    expected = {user_id: max(access[1:] for access in accesses if access.user_id == user_id) for user_id, _, _ in seen}
    assert cache.last_accesses(list(expected)) == {
        user_id: (moment, location) for user_id, (moment, _, location) in expected.items()
    }
