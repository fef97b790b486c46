"""Faults of what enrichment leans on: the cache's Redis and the customers' MySQL."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import pytest

from streaming.domain.timestamps import format_timestamp
from streaming.edges.event_stream import DELIVERY
from tests.faults.platform import Platform
from tests.landing import event_text

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

# For a flush, the deadline of 0.5 s, and a busy machine; who waits for the dead waits longer.
FLUSH_SECONDS = 15.0


def test_19_cache_redis_refused_stopped_out_of_memory(platform: Platform) -> None:
    for fault in (_out_of_memory, _stopped, _refused):
        platform.restart("delivery")  # it remembers names for half a minute, and for 5 seconds that the cache failed
        seen = datetime.now(UTC)
        with fault(platform):
            platform.put([event_text(seen, fault.__name__)])
            platform.wait(lambda: platform.behind(DELIVERY) == 0, FLUSH_SECONDS)
            assert platform.behind("last_access") == 1
        platform.wait_delivered()
        with platform.cache_server() as cache:
            user = cache.hgetall("user:20")
        assert (user["last_access"], user["location"]) == (format_timestamp(seen), "Riverside, California, US")
    platform.expect_invariant()
    rows = platform.query("SELECT click_id, name, city, missing_reasons AS why FROM enriched_events")
    assert {row["click_id"]: (row["name"], row["city"], row["why"]) for row in rows} == {
        "_out_of_memory": ("Semyon Ryan", "Riverside", None),  # it can still be read
        "_stopped": (None, "Riverside", "name:lookup_failed"),
        "_refused": (None, "Riverside", "name:lookup_failed"),
    }


def test_21_mysql_down_or_slow_and_an_unknown_user(platform: Platform) -> None:
    platform.stop("mariadb")
    _see(platform, "slow")
    platform.resume("mariadb")
    pid = platform.pid("mariadb")
    add = ("customers", "add", "--id", "7001", "--name", "Grace Hopper")
    with platform.unattended():
        platform.kill("mariadb")
        _see(platform, "down")
        platform.run(*add, status=1)
    platform.wait_replaced([pid])
    _see(platform, "before")
    platform.run(*add)
    _see(platform, "after")
    platform.expect_invariant()
    rows = platform.query("SELECT click_id, name, missing_reasons AS why FROM enriched_events WHERE click_id[1] <> '_'")
    nobody = (None, "name:unknown_user")
    assert {row["click_id"]: (row["name"], row["why"]) for row in rows} == {
        **{f"{when}-20": ("Semyon Ryan", None) for when in ("slow", "down", "before", "after")},
        **{f"{when}-7001": nobody for when in ("slow", "down", "before")},
        "after-7001": ("Grace Hopper", None),
    }


def _see(platform: Platform, when: str) -> None:
    """Deliver an event of a customer, and one of somebody who is none yet."""
    now = datetime.now(UTC)
    platform.put([event_text(now, f"{when}-{user}", user_id=user) for user in ("20", "7001")])
    platform.wait(lambda: platform.behind(DELIVERY) == 0, FLUSH_SECONDS)


@contextmanager
def _out_of_memory(platform: Platform) -> Iterator[None]:
    with platform.cache_server() as cache:
        cache.config_set("maxmemory", 1)
        yield
        cache.config_set("maxmemory", 0)


@contextmanager
def _stopped(platform: Platform) -> Iterator[None]:
    platform.stop("cache-redis")
    yield
    platform.resume("cache-redis")


@contextmanager
def _refused(platform: Platform) -> Iterator[None]:
    pid = platform.pid("cache-redis")
    with platform.unattended():
        platform.kill("cache-redis")
        yield
    platform.wait_replaced([pid])
