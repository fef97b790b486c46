"""A collector for all tests that do not need one of their own, and the events they post."""

from collections.abc import Iterator, Mapping
from typing import Any

import orjson
import pytest

from tests.streaming.runtime.collector_process import CollectorProcess

EVENT: dict[str, Any] = {
    "timestamp": "2026-07-12 12:01:58.732726",
    "user_id": "35",
    "pixel_id": "wjgao4w1oi",
    "click_id": "a5cf179b9c9d483abf6d424d44a293be",
    "insertion_timestamp": "2026-07-12 12:01:58.732754",
    "event_name": "Search",
    "user_ip": "111.33.64.227",
    "additional_data": {"time_on_data": 79, "percent_viewed": 39.7, "product_id": 557246, "price": 417.97},
}
ONE = orjson.dumps(EVENT)
START = {"CLICKSTREAM_START": "2021-01-01"}


def array(*events: bytes) -> bytes:
    """A request's body."""
    return b"[" + b",".join(events) + b"]"


def changed(**members: Any) -> bytes:
    """The event with other members."""
    return orjson.dumps(EVENT | members)


@pytest.fixture(scope="session")
def shared_collector(
    servers_environment: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[CollectorProcess]:
    """A collector with default settings that believes no payload's address."""
    home = tmp_path_factory.mktemp("collector")
    with CollectorProcess(servers_environment["REDIS_URL"], home, **START) as process:
        yield process


@pytest.fixture
def collector(shared_collector: CollectorProcess, stream_redis_url: str) -> CollectorProcess:
    """The shared collector in front of an empty stream."""
    assert stream_redis_url
    return shared_collector
