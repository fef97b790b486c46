"""Faults between a client and the stream."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import pytest
import redis

from tests.faults.platform import Platform
from tests.faults.tcp_proxy import TcpProxy
from tests.landing import event_text

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

# One full request of one user fills a shard.
SETTINGS = {"CLICKSTREAM_STREAM_BACKLOG": "2000"}
FULL_REQUEST = 500


def test_01_put_records_fails_3_of_500(platform: Platform) -> None:
    shard = platform.shard_of("20")
    users = [str(number) for number in range(1, 1200)]
    refused = [user for user in users if platform.shard_of(user) == shard][:3]
    others = [user for user in users if platform.shard_of(user) != shard][: FULL_REQUEST - 3]
    events = _events("partial", others + refused)
    # A put to a server that does not know the script yet is put once more as a whole, by the client itself.
    assert platform.post(_events("before", ["20"])).status_code == 200
    platform.stop("delivery")
    platform.stop("consumers")
    with ThreadPoolExecutor(1) as client, platform.stream_server() as server:
        refused_before = _refused_puts(server)
        with _shard_refuses(server, shard):
            answer = client.submit(platform.post, events)
            platform.wait(lambda: _refused_puts(server) > refused_before)
        assert answer.result().status_code == 200
    platform.resume("delivery")
    platform.resume("consumers")
    platform.expect_invariant()
    assert _rows(platform, "partial") == {"sent": 500, "records": 500, "clicks": 500}


def test_02_an_acknowledgement_is_lost_and_the_producer_sends_again(platform: Platform) -> None:
    yesterday = datetime.now(UTC).replace(hour=12) - timedelta(days=1)
    lost = count(1)

    def lose_three(answer: bytes) -> bytes | None:
        return None if b"record_ids" in answer and next(lost) <= 3 else answer

    with TcpProxy(platform.settings.collector_url, lose_three) as proxy:
        url = f"http://127.0.0.1:{proxy.port}"
        sent = platform.send("--url", url, "--events", "200", "--batch", "50", "--until", f"{yesterday}", "--days", "1")
    assert sent["accepted"] == 200
    platform.expect_invariant()
    [flattened] = platform.query(f"SELECT COUNT(*) AS n FROM flattened_events WHERE event_timestamp < '{yesterday}'")
    [enriched] = platform.query(f"SELECT COUNT(*) AS n FROM enriched_events WHERE timestamp < '{yesterday}'")
    assert (enriched["n"], flattened["n"]) == (200 + 3 * 50, 200)


def test_03_throttled_until_the_retries_end(platform: Platform) -> None:
    elsewhere = next(user for user in map(str, count()) if platform.shard_of(user) != platform.shard_of("20"))
    platform.stop("delivery")
    assert platform.post(_events("throttled-first", ["20"] * FULL_REQUEST)).status_code == 200
    throttled = _events("throttled", ["20"] * 5 + [elsewhere] * 5)
    answers = [platform.post(throttled) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [503] * 3
    assert all("record_ids" not in answer.json() and answer.headers["retry-after"] for answer in answers)
    platform.resume("delivery")
    platform.wait_delivered()
    assert platform.post(throttled).status_code == 200
    with platform.stream_server() as server, _shard_refuses(server, platform.shard_of("20")):
        assert platform.post(_events("refused", ["20"])).status_code == 503
    platform.expect_invariant()
    assert _rows(platform, "throttled") == {"sent": 525, "records": 525, "clicks": 510}
    assert _rows(platform, "refused") == {"sent": 0, "records": 0, "clicks": 0}


@contextmanager
def _shard_refuses(server: redis.Redis, shard: str) -> Iterator[None]:
    """The stream's Redis denies this shard to everybody."""
    others = [f"~events:{shard[:-1]}[^{shard[-1]}]*", "~events:shards", "~high_intent:*"]
    server.execute_command("ACL", "SETUSER", "default", "resetkeys", *others)
    try:
        yield
    finally:
        server.execute_command("ACL", "SETUSER", "default", "allkeys")


def _refused_puts(server: redis.Redis) -> int:
    """How many scripts the stream's Redis has refused to run: puts are, and what workers record."""
    return int(server.info("commandstats").get("cmdstat_evalsha", {}).get("rejected_calls", 0))


def _events(name: str, users: list[str]) -> list[dict[str, Any]]:
    now = datetime.now(UTC)
    return [json.loads(event_text(now, f"{name}-{n}", user_id=user)) for n, user in enumerate(users)]


def _rows(platform: Platform, name: str) -> dict[str, int]:
    """How often events of this name stand in raw, by how many identities, and how many flattened rows they have."""
    [row] = platform.query(
        "SELECT COUNT(*) AS sent, COUNT(DISTINCT record_id) AS records, "
        f"(SELECT COUNT(*) FROM flattened_events WHERE click_id LIKE '{name}-%') AS clicks "
        f"FROM raw_events WHERE event->>'click_id' LIKE '{name}-%'"
    )
    return row
