"""Faults of those who read the stream: replays, deaths, and a store of failed events that is down."""

from contextlib import closing
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pytest

from streaming.domain.envelope import new_record_ids, stamp
from streaming.domain.timestamps import format_timestamp
from tests.faults.platform import Platform
from tests.landing import event_text

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

SETTINGS = {"CLICKSTREAM_CONSUMER_RETRIES": "2", "CLICKSTREAM_LEASE_SECONDS": "3"}
PLACE = "Riverside, California, US"


def test_06_a_batch_is_replayed_three_times_and_shuffled(platform: Platform) -> None:
    now = datetime.now(UTC)
    users = ["replayed-1", "replayed-2", "replayed-3"]
    texts = [
        event_text(now - timedelta(seconds=n), f"replayed-{user}-{n}", user_id=user)
        for n in range(20)
        for user in users
    ]
    records = [
        stamp(text, record_id, format_timestamp(now), None)
        for text, record_id in zip(texts, new_record_ids(len(texts)), strict=True)
    ]
    platform.put(records)
    platform.wait_delivered()
    first = _users(platform, users)
    assert [seen["last_access"] for seen in first] == [format_timestamp(now)] * 3
    for seed in range(3):
        platform.put(Random(seed).sample(records, len(records)))
        platform.wait_delivered()
        assert _users(platform, users) == first
    platform.expect_invariant()
    assert _rows(platform, "replayed") == {"enriched": 60, "flattened": 60}


def test_08_killed_after_the_redis_write_before_the_checkpoint(platform: Platform) -> None:
    now = datetime.now(UTC)
    user = "killed"
    before = _last_access_checkpoint(platform, user)
    platform.stop("consumers")
    platform.put(
        (
            event_text(now - timedelta(seconds=n), f"killed-{n}", user_id=user, event_name="ViewContent")
            for n in range(20)
        ),
        key=user,
    )
    with platform.stream_takes_no_writes():
        platform.resume("consumers")
        platform.wait(lambda: bool(_users(platform, [user])[0]), 20)
        written = _users(platform, [user])
        platform.kill("consumers")
    assert _last_access_checkpoint(platform, user) == before
    platform.wait_delivered()
    assert _last_access_checkpoint(platform, user) != before
    assert _users(platform, [user]) == written
    assert (written[0]["last_access"], written[0]["location"]) == (format_timestamp(now), PLACE)
    platform.expect_invariant()
    assert _rows(platform, "killed") == {"enriched": 20, "flattened": 20}
    [views] = platform.query(
        "SELECT COUNT(DISTINCT record_id) AS n FROM high_intent_views WHERE click_id LIKE 'killed-%'"
    )
    assert views["n"] == 20


def test_09_the_store_of_failed_events_is_down(platform: Platform) -> None:
    now = datetime.now(UTC)
    poisoned, healthy = "unkept", next(str(n) for n in range(9) if _other_shard(platform, str(n), "unkept"))
    with platform.failed_store_down(), platform.unwritable(poisoned):
        platform.put([b'{"click_id": "unkept-1"', event_text(now, "unkept-2", user_id=poisoned)], key=poisoned)
        platform.put([event_text(now, "unkept-beside", user_id=healthy)], key=healthy)
        consumers = ("delivery", "last_access")
        platform.wait(lambda: all(platform.behind(consumer, healthy) == 0 for consumer in consumers))
        assert [platform.behind(consumer, poisoned) for consumer in consumers] == [2, 2]
        platform.kill("delivery", "consumers")
    platform.expect_invariant()
    assert _rows(platform, "unkept") == {"enriched": 2, "flattened": 2}
    assert _kept(platform, "unkept") == {("enrichment", "Lambda.ProcessingFailedStatus", 1)}
    assert _users(platform, [poisoned])[0]["last_access"] == format_timestamp(now)


def test_10_retries_exhausted(platform: Platform) -> None:
    now = datetime.now(UTC)
    record = event_text(now, "exhausted-1", user_id="exhausted")
    with platform.unwritable("exhausted"):
        platform.put([record])
        platform.wait_delivered()
    platform.expect_invariant()
    assert _kept(platform, "exhausted") == {("last_access", "RetryAttemptsExhausted", 3)}
    kept = f"FROM failed_events WHERE record_id = '{platform.accepted[-1]}'"
    assert platform.query(f"SELECT hex(raw_data) AS bytes {kept}") == [{"bytes": record.hex().upper()}]
    assert _users(platform, ["exhausted"]) == [{}]
    platform.run("replay", "--record-id", platform.accepted[-1])
    [seen] = _users(platform, ["exhausted"])
    assert (seen["last_access"], seen["location"]) == (format_timestamp(now), PLACE)
    platform.expect_invariant()
    assert platform.query(f"SELECT state {kept}") == [{"state": "replayed"}]


def _users(platform: Platform, users: list[str]) -> list[dict[str, str]]:
    """What the cache holds of users."""
    with platform.cache_server() as cache:
        return [cache.hgetall(f"user:{user}") for user in users]


def _last_access_checkpoint(platform: Platform, key: str) -> Any:
    with closing(platform.stream()) as stream:
        return stream.checkpoints("last_access")[platform.shard_of(key)].sequence_number


def _other_shard(platform: Platform, key: str, than: str) -> bool:
    return platform.shard_of(key) != platform.shard_of(than)


def _rows(platform: Platform, name: str) -> dict[str, int]:
    """How many records and rows there are of the clicks of this name."""
    [row] = platform.query(
        "SELECT COUNT(DISTINCT record_id) AS enriched, "
        f"(SELECT COUNT(*) FROM flattened_events WHERE click_id LIKE '{name}-%') AS flattened "
        f"FROM enriched_events WHERE click_id LIKE '{name}-%'"
    )
    return row


def _kept(platform: Platform, name: str) -> set[tuple[str, str, int]]:
    """Stage, error code and attempts of the failed records whose bytes hold a name."""
    rows = platform.query(
        f"SELECT stage, error_code, attempts FROM failed_events WHERE CAST(raw_data AS VARCHAR) LIKE '%{name}-%'"
    )
    return {(row["stage"], row["error_code"], row["attempts"]) for row in rows}
