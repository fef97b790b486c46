import time
from collections.abc import Collection, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import redis

from streaming.domain.enrichment import Place
from streaming.edges.geo.ipinfo import IpinfoGeo
from streaming.edges.geo.places import MissingPlace
from streaming.edges.look_ups import Found, LookUps, MissingName
from streaming.edges.user_cache import UserCache
from tests.streaming.conftest import RIVERSIDE as ADDRESS
from tests.streaming.ipinfo_stub import StubIpinfo, hang
from tests.streaming.redis_server import RedisServer

RIVERSIDE = Place("US", "California", "Riverside", 33.9764, -117.3341)
NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


class Geo:
    """A provider that knows what it is told, and counts what it is asked."""

    repeatable = True

    def __init__(self, build: str = "geo-1", **known: Place | MissingPlace) -> None:
        self.build = build
        self.known = known
        self.asked: list[str] = []

    def places(self, ips: Collection[str], within_seconds: float | None = None) -> dict[str, Place | MissingPlace]:
        self.asked += ips
        return {ip: self.known.get(ip, MissingPlace.LOOKUP_FAILED) for ip in ips}


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def cache(cache_redis_url: str) -> UserCache:
    cache = UserCache(cache_redis_url)
    cache.put_names({"20": "Semyon Ryan"})
    cache.advance_watermark(NOON)
    return cache


def test_names_and_places_are_found_with_their_version(cache: UserCache) -> None:
    found = LookUps(cache, Geo(riverside=RIVERSIDE)).find({"20", "99"}, {"riverside"})
    assert found.names == {"20": "Semyon Ryan", "99": MissingName.UNKNOWN_USER}
    assert found.places == {"riverside": RIVERSIDE}
    assert found.version == "1/geo-1/2026-11-23T12:00:00.000000Z"


def test_a_place_is_looked_up_once_for_all_processes(cache: UserCache) -> None:
    LookUps(cache, Geo(riverside=RIVERSIDE, nowhere=MissingPlace.NOT_FOUND)).find((), ["riverside", "nowhere"])
    other = Geo()
    found = LookUps(cache, other).find((), ["riverside", "nowhere"])
    assert found.places == {"riverside": RIVERSIDE, "nowhere": MissingPlace.NOT_FOUND}
    assert other.asked == []


def test_a_new_build_of_geo_data_replaces_cached_places(cache: UserCache) -> None:
    LookUps(cache, Geo(ip=Place("US"))).find((), ["ip"])
    assert LookUps(cache, Geo("geo-2", ip=RIVERSIDE)).find((), ["ip"]).places == {"ip": RIVERSIDE}


def test_a_stale_place_serves_while_the_provider_is_down(cache: UserCache) -> None:
    LookUps(cache, Geo(ip=RIVERSIDE)).find((), ["ip"])
    assert LookUps(cache, Geo("geo-2")).find((), ["ip", "new"]).places == {
        "ip": RIVERSIDE,
        "new": MissingPlace.LOOKUP_FAILED,
    }


def test_a_failed_look_up_is_not_remembered(cache: UserCache) -> None:
    geo = Geo()
    look_ups = LookUps(cache, geo)
    look_ups.find((), ["ip"])
    geo.known["ip"] = RIVERSIDE
    assert look_ups.find((), ["ip"]).places == {"ip": RIVERSIDE}


def test_before_the_first_refresh_nobody_is_unknown(cache_redis_url: str) -> None:
    found = LookUps(UserCache(cache_redis_url), Geo()).find(["20"], ())
    assert found.names == {"20": MissingName.LOOKUP_FAILED}
    assert found.version == "1/geo-1/no-users"


def test_a_wiped_cache_is_no_snapshot(cache: UserCache, cache_redis_url: str) -> None:
    clock = Clock()
    look_ups = LookUps(cache, Geo(), clock)
    look_ups.find(["20"], ())
    with redis.Redis.from_url(cache_redis_url) as client:
        client.flushall()
    clock.now += 31
    found = look_ups.find(["20"], ())
    assert (found.names, found.version) == ({"20": MissingName.LOOKUP_FAILED}, "1/geo-1/no-users")


def test_a_new_snapshot_drops_the_names_of_the_old(cache: UserCache) -> None:
    look_ups = LookUps(cache, Geo())
    look_ups.find(["20", "99"], ())
    cache.put_names({"20": "Semyon R. Ryan", "99": "Mei Park", "35": "Ana"})
    cache.advance_watermark(NOON + timedelta(seconds=1))
    found = look_ups.find(["20", "35", "99"], ())
    assert found.names == {"20": "Semyon R. Ryan", "35": "Ana", "99": "Mei Park"}
    assert found.version.endswith("12:00:01.000000Z")


def test_a_changed_name_is_seen_within_half_a_minute(cache: UserCache) -> None:
    clock = Clock()
    look_ups = LookUps(cache, Geo(), clock)
    look_ups.find(["20"], ())
    cache.put_names({"20": "Semyon R. Ryan"})
    assert look_ups.find(["20"], ()).names == {"20": "Semyon Ryan"}
    clock.now += 31
    assert look_ups.find(["20"], ()).names == {"20": "Semyon R. Ryan"}


def test_a_sign_up_is_seen_at_once(cache: UserCache) -> None:
    look_ups = LookUps(cache, Geo())
    assert look_ups.find(["99"], ()).names == {"99": MissingName.UNKNOWN_USER}
    cache.put_names({"99": "Mei Park"})
    assert look_ups.find(["99"], ()).names == {"99": "Mei Park"}


def test_a_refused_cache_costs_names_but_not_places(free_port: int) -> None:
    look_ups = LookUps(UserCache(f"redis://127.0.0.1:{free_port}"), Geo(ip=RIVERSIDE))
    found = look_ups.find(["20"], ["ip"])
    assert found.names == {"20": MissingName.LOOKUP_FAILED}
    assert found.places == {"ip": RIVERSIDE}


@pytest.mark.parametrize("key", ["user:20", "geo:ip"])
def test_what_is_no_text_in_the_cache_costs_names_but_no_event(
    cache: UserCache, cache_redis_url: str, key: str
) -> None:
    with redis.Redis.from_url(cache_redis_url) as client:
        client.delete(key)
        client.hset(key, "name", b"\xff") if key == "user:20" else client.set(key, b"\xff")
    found = LookUps(cache, Geo(ip=RIVERSIDE)).find(["20"], ["ip"])
    assert found.names == {"20": MissingName.LOOKUP_FAILED}
    assert found.places == {"ip": RIVERSIDE}


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis that a test may stop and starve."""
    with RedisServer(tmp_path / "redis") as server:
        yield server


def test_a_stopped_cache_costs_half_a_second_once(own_redis: RedisServer) -> None:
    cache = UserCache(own_redis.url, timeout_seconds=0.3)
    cache.put_names({"20": "Semyon Ryan"})
    cache.advance_watermark(NOON)
    clock = Clock()
    look_ups = LookUps(cache, Geo(ip=RIVERSIDE), clock)
    own_redis.stop()
    started = time.monotonic()
    for _ in range(10):
        found = look_ups.find(["20"], ["ip"])
        assert found.names == {"20": MissingName.LOOKUP_FAILED}
        assert found.places == {"ip": RIVERSIDE}
    assert time.monotonic() - started < 2
    own_redis.resume()
    clock.now += 6
    assert look_ups.find(["20"], ["ip"]).names == {"20": "Semyon Ryan"}


def test_a_cache_out_of_memory_still_answers(own_redis: RedisServer) -> None:
    cache = UserCache(own_redis.url)
    cache.put_names({"20": "Semyon Ryan"})
    cache.advance_watermark(NOON)
    with redis.Redis.from_url(own_redis.url) as client:
        client.config_set("maxmemory", 1)
    look_ups = LookUps(cache, Geo(ip=RIVERSIDE))
    for user_ids in (["20"], ["20", "99"]):
        found = look_ups.find(user_ids, ["ip"])
        assert found.names["20"] == "Semyon Ryan"
        assert found.places == {"ip": RIVERSIDE}


def test_what_is_remembered_serves_on_while_the_cache_is_down(own_redis: RedisServer) -> None:
    cache = UserCache(own_redis.url, timeout_seconds=0.2)
    cache.put_names({"20": "Semyon Ryan"})
    cache.advance_watermark(NOON)
    clock, geo = Clock(), Geo(ip=RIVERSIDE)
    look_ups = LookUps(cache, geo, clock, deadline_seconds=0.4)
    before = look_ups.find(["20"], ["ip"])
    own_redis.stop()
    for _ in range(3):
        clock.now += 31
        found = look_ups.find(["20", "35"], ["ip"])
        assert found == Found({**before.names, "35": MissingName.LOOKUP_FAILED}, before.places, before.version)
    assert geo.asked == ["ip"]
    own_redis.resume()
    cache.put_names({"20": "Semyon R. Ryan"})
    clock.now += 31
    assert look_ups.find(["20"], ["ip"]).names == {"20": "Semyon R. Ryan"}


def test_cache_and_provider_share_one_deadline(own_redis: RedisServer, ipinfo: StubIpinfo) -> None:
    ipinfo.answer = hang
    geo = IpinfoGeo("secret", deadline_seconds=5, base_url=ipinfo.url)
    look_ups = LookUps(UserCache(own_redis.url, timeout_seconds=5), geo, deadline_seconds=0.4)
    own_redis.stop()
    started = time.monotonic()
    found = look_ups.find(["20"], [ADDRESS])
    seconds = time.monotonic() - started
    own_redis.resume()
    assert found.names == {"20": MissingName.LOOKUP_FAILED}
    assert found.places == {ADDRESS: MissingPlace.LOOKUP_FAILED}
    assert 0.35 < seconds < 0.7


def test_a_cache_that_takes_its_time_leaves_some_for_the_provider(own_redis: RedisServer, ipinfo: StubIpinfo) -> None:
    geo = IpinfoGeo("secret", base_url=ipinfo.url)
    look_ups = LookUps(UserCache(own_redis.url, timeout_seconds=5), geo, deadline_seconds=1)
    own_redis.stop()
    found = look_ups.find(["20"], [ADDRESS])
    own_redis.resume()
    assert found.places == {ADDRESS: RIVERSIDE}
