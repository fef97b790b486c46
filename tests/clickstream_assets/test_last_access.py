"""Last access is rebuilt from enriched events when the cache was wiped, and never moves back."""

from collections.abc import Iterable
from datetime import timedelta

import dagster as dg
import pybase64
import pytest
import redis

from clickstream_assets.definitions import build_definitions
from clickstream_assets.last_access import rebuild
from resources.lake import DirectoryLake
from resources.warehouse import DuckDBWarehouse
from streaming.domain.layout import hour_of
from streaming.edges.geo.provider import NoGeo
from streaming.edges.look_ups import LookUps
from streaming.edges.user_cache import CachedPlace, LastAccess, UserCache
from streaming.edges.users_db import UsersDb
from streaming.handlers.last_access import accesses
from streaming.handlers.records import good_events
from streaming.settings import Settings
from tests.clickstream_assets.conftest import NOW, DeliveryTo
from tests.clickstream_assets.daemon import Daemon
from tests.clickstream_assets.layers import settle
from tests.landing import RIVERSIDE, Delivery, delivery, land

IP = "169.235.214.44"
PLACE = (RIVERSIDE.country, RIVERSIDE.region, RIVERSIDE.city, RIVERSIDE.latitude, RIVERSIDE.longitude)


def consume(deliveries: Iterable[Delivery], cache: UserCache) -> None:
    """As the Lambda `last_access` does."""
    cache.put_places([(IP, CachedPlace(NoGeo.build, 2e9, *PLACE), 60)])
    records = [
        {
            "kinesis": {
                "data": pybase64.b64encode_as_string(each.envelope.data),
                "approximateArrivalTimestamp": each.arrival.timestamp(),
                "sequenceNumber": each.record_id,
            }
        }
        for each in deliveries
    ]
    cache.put_last_access(accesses(good_events({"Records": records}), LookUps(cache, NoGeo())))


def users(url: str) -> dict[bytes, dict[bytes, bytes]]:
    """What the cache holds of every user, but the name."""
    with redis.Redis.from_url(url, decode_responses=False) as client:
        found = {key: client.hgetall(key) for key in client.scan_iter("user:*")}
    return {key: {name: value for name, value in user.items() if name != b"name"} for key, user in found.items()}


def seen() -> list[Delivery]:
    """Users seen at odd times: with a clock ahead, twice at one moment, long ago, in hours sealed and open."""
    before = NOW - timedelta(hours=2)
    return [
        *(delivery(NOW - timedelta(days=day), f"a{day}", NOW, user_id=f"{day % 7}") for day in range(30)),
        delivery(NOW + timedelta(minutes=4), "ahead", NOW, user_id="ahead"),
        delivery(before, "one", before, user_id="20"),
        *(delivery(before, f"tie{number}", before, user_id="tie") for number in range(5)),
        delivery(before, "nowhere", before, user_id="nowhere", user_ip="10.0.0.1"),
    ]


@pytest.fixture
def landed(lake: DirectoryLake, warehouse: DuckDBWarehouse) -> list[Delivery]:
    """Users seen, in a lake of which one hour is sealed."""
    deliveries = [
        each if b"10.0.0.1" not in each.event else Delivery(each.event, each.arrival, each.record_id, place=None)
        for each in seen()
    ]
    land(lake, [each for each in deliveries if hour_of(each.arrival) != hour_of(NOW)], "before")
    settle(lake, warehouse)
    land(lake, [each for each in deliveries if hour_of(each.arrival) == hour_of(NOW)], "now")
    return deliveries


def test_it_is_rebuilt_as_the_lambda_had_kept_it(
    landed: list[Delivery], lake: DirectoryLake, warehouse: DuckDBWarehouse, cache: UserCache, cache_redis_url: str
) -> None:
    consume(landed, cache)
    before = users(cache_redis_url)
    assert len(before) == 11
    with redis.Redis.from_url(cache_redis_url) as client:
        client.flushall()

    assert rebuild(lake, warehouse, cache) == 11

    assert users(cache_redis_url) == before
    assert rebuild(lake, warehouse, cache) == 0


def test_it_moves_nobody_back(
    landed: list[Delivery], lake: DirectoryLake, warehouse: DuckDBWarehouse, cache: UserCache
) -> None:
    later = NOW + timedelta(days=1)
    cache.put_last_access([LastAccess("3", later, "f" * 32, "Riverside, California, US")])
    assert rebuild(lake, warehouse, cache) == 10
    assert cache.last_accesses(["3"])["3"][0] == later


@pytest.mark.usefixtures("landed")
def test_a_wiped_cache_is_filled_until_all_that_had_arrived_is_landed(
    lake: DirectoryLake,
    platform: Settings,
    instance: dg.DagsterInstance,
    delivered: DeliveryTo,
    cache: UserCache,
    mysql_url: str,
    cache_redis_url: str,
) -> None:
    edges = {"delivery": delivered, "user_cache": cache, "users_db": UsersDb(mysql_url)}
    daemon = Daemon(build_definitions(platform, edges), instance, lake, delivered)
    daemon.edges["user_cache"] = cache

    def runs() -> int:
        asked = len(daemon.requested)
        daemon.tick("rebuild_wiped_cache")
        return len(daemon.requested) - asked

    delivered.moment = NOW - timedelta(days=300)
    assert (runs(), runs()) == (1, 1)  # not complete: an event may still be on its way to the lake
    delivered.moment = NOW + timedelta(days=300)
    assert (runs(), runs()) == (1, 0)
    before = users(cache_redis_url)
    assert len(before) == 1_000 + 11 - 7  # customers 1 to 6 and 20 were seen
    assert cache.look_up(["20"], ()).names == {"20": "Semyon Ryan"}

    with redis.Redis.from_url(cache_redis_url) as client:
        client.flushall()

    assert (runs(), runs()) == (1, 0)
    assert users(cache_redis_url) == before
    assert cache.look_up(["20"], ()).names == {"20": "Semyon Ryan"}


def test_a_cache_that_is_wiped_while_it_is_filled_is_not_complete(cache: UserCache, cache_redis_url: str) -> None:
    assert cache.last_access_lost_at(NOW) == NOW
    assert cache.last_access_lost_at(NOW + timedelta(minutes=1)) == NOW
    with redis.Redis.from_url(cache_redis_url) as client:
        client.flushall()
    assert not cache.mark_last_access_complete(NOW)
    again = NOW + timedelta(minutes=2)
    assert cache.last_access_lost_at(again) == again
    assert cache.mark_last_access_complete(again)
    assert cache.last_access_lost_at(NOW) is None
