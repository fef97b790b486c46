from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
import redis
from hypothesis import given, settings
from hypothesis import strategies as st

from streaming.edges.user_cache import UserCache
from streaming.handlers.last_access import lambda_handler

Event = Callable[[str], dict[str, Any]]

pytestmark = pytest.mark.usefixtures("deployment")


def test_users_are_seen_when_and_where(event: Event, cache_redis_url: str) -> None:
    # when
    answer = lambda_handler(event("kinesis_access"), None)
    # then
    assert answer == {"batchItemFailures": []}
    assert UserCache(cache_redis_url).last_accesses(["20", "35", "36"]) == {
        "20": (datetime(2021, 7, 12, 20, 24, 49, 536462, UTC), "Riverside, California, US"),
        "35": (datetime(2021, 7, 12, 20, 24, 50, 0, UTC), "Riverside, California, US"),  # its clock runs ahead
        "36": (datetime(2021, 7, 12, 20, 24, 49, 536462, UTC), ""),
    }


@settings(max_examples=20)
@given(data=st.data())
def test_replays_in_any_order_change_nothing(event: Event, cache_redis_url: str, data: st.DataObject) -> None:
    # given
    records = event("kinesis_access")["Records"]
    lambda_handler({"Records": records}, None)
    cache = UserCache(cache_redis_url)
    before = cache.last_accesses(["20", "35", "36"])
    # when
    shuffled = data.draw(st.permutations(records * 3))
    for start in range(0, len(shuffled), 4):
        lambda_handler({"Records": shuffled[start : start + 4]}, None)
    # then
    assert cache.last_accesses(["20", "35", "36"]) == before


def test_a_batch_of_bad_events_only_is_done() -> None:
    assert lambda_handler({"Records": []}, None) == {"batchItemFailures": []}


def test_without_a_cache_the_batch_fails_and_comes_again(
    event: Event, free_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CACHE_REDIS_URL", f"redis://127.0.0.1:{free_port}")
    with pytest.raises(redis.RedisError):
        lambda_handler(event("kinesis_access"), None)
