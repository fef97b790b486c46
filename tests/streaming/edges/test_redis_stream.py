"""What the Redis stream adds to the contract: bound, leases, checkpoints, trimming, and bearing with its server."""

import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import redis

from streaming.edges.event_stream import SERVICE_UNAVAILABLE, STREAM_FULL, Checkpoint, LeaseLost, StreamUnavailable
from streaming.edges.redis_stream import RedisEventStream, verify_stream_server
from streaming.settings import SettingError
from tests.streaming.redis_server import RedisServer

SHARD = "shardId-000000000000"


@pytest.fixture
def stream(stream_redis_url: str) -> RedisEventStream:
    return RedisEventStream(stream_redis_url, "events", 1, 10)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    with RedisServer(tmp_path / "redis") as server:
        yield server


def put(stream: RedisEventStream, count: int, data: bytes = b"x") -> list[str | None]:
    return [result.error_code for result in stream.put_records([("a", data)] * count)]


def deliver(stream: RedisEventStream, consumer: str = "delivery") -> None:
    """Checkpoint all there is."""
    lease = stream.acquire(SHARD, consumer, "test", 5)
    assert lease
    page = stream.get_records(SHARD, lease.start.sequence_number, 500)
    lease.checkpoint(page.records[-1].sequence_number, page.caught_up_to)
    lease.release()


class TestBound:
    def test_a_put_that_would_pass_it_is_refused_whole(self, stream):
        assert put(stream, 8) == [None] * 8
        assert put(stream, 3) == [STREAM_FULL] * 3
        assert put(stream, 2) == [None] * 2

    def test_only_deliverys_lag_does_it(self, stream):
        put(stream, 10)
        deliver(stream, "last_access")
        assert put(stream, 1) == [STREAM_FULL]
        deliver(stream)
        assert put(stream, 10) == [None] * 10
        assert stream.backlog("last_access")[SHARD].records == 10
        assert stream.backlog("high_intent")[SHARD].records == 20

    def test_a_put_larger_than_the_bound_is_taken_when_nothing_waits(self, stream):
        assert put(stream, 30) == [None] * 30
        assert put(stream, 1) == [STREAM_FULL]


class TestLeases:
    def test_a_shard_has_one_owner(self, stream):
        lease = stream.acquire(SHARD, "delivery", "a", 5)

        assert stream.acquire(SHARD, "delivery", "b", 5) is None
        assert stream.acquire(SHARD, "last_access", "b", 5)
        lease.release()
        assert stream.acquire(SHARD, "delivery", "b", 5)

    def test_what_a_stale_epoch_writes_is_refused(self, stream):
        put(stream, 2)
        old = stream.acquire(SHARD, "delivery", "a", 0.05)
        time.sleep(0.1)
        new = stream.acquire(SHARD, "delivery", "b", 5)

        with pytest.raises(LeaseLost):
            old.checkpoint("9999999999999-000000000009", datetime.now(UTC))
        with pytest.raises(LeaseLost):
            old.renew()
        assert old.lost
        new.renew()
        assert new.epoch > old.epoch
        assert stream.checkpoints()[SHARD] == Checkpoint(None, None)

    def test_an_owner_that_acquires_again_fences_itself(self, stream):
        old = stream.acquire(SHARD, "delivery", "a", 5)
        stream.acquire(SHARD, "delivery", "a", 5)

        with pytest.raises(LeaseLost):
            old.renew()

    def test_a_renewed_lease_outlives_its_ttl(self, stream):
        lease = stream.acquire(SHARD, "delivery", "a", 1.0)
        for _ in range(6):
            time.sleep(0.2)
            lease.renew()
        assert stream.acquire(SHARD, "delivery", "b", 5) is None

    def test_the_next_owner_begins_at_the_checkpoint(self, stream):
        put(stream, 3)
        lease = stream.acquire(SHARD, "delivery", "a", 5)
        page = stream.get_records(SHARD, None, 2)
        lease.checkpoint(page.records[1].sequence_number, page.caught_up_to)
        lease.release()

        start = stream.acquire(SHARD, "delivery", "b", 5).start

        assert start == Checkpoint(page.records[1].sequence_number, page.caught_up_to)
        assert len(stream.get_records(SHARD, start.sequence_number, 10).records) == 1

    def test_a_stream_that_came_back_empty_fences_everyone(self, stream, stream_redis_url):
        lease = stream.acquire(SHARD, "delivery", "a", 5)
        with redis.Redis.from_url(stream_redis_url) as client:
            client.flushall()

        with pytest.raises(LeaseLost):
            lease.renew()
        assert stream.acquire(SHARD, "delivery", "a", 5).start == Checkpoint(None, None)


def test_a_clock_that_steps_back_puts_nothing_behind_what_delivery_has_declared(stream):
    ahead = datetime.now(UTC) + timedelta(minutes=5)
    lease = stream.acquire(SHARD, "delivery", "a", 5)
    lease.checkpoint(None, ahead)

    put(stream, 1)

    [record] = stream.get_records(SHARD, None, 1).records
    assert record.arrival >= ahead - timedelta(milliseconds=1)


def test_a_clock_that_steps_back_keeps_the_records_in_order(stream, stream_redis_url):
    ahead = int(time.time() * 1000) + 300_000
    with redis.Redis.from_url(stream_redis_url) as client:
        client.xadd(f"events:{SHARD}", {"k": "a", "d": "x"}, id=f"{ahead}-1")

    [put] = stream.put_records([("a", b"y")])

    assert put.sequence_number == f"{ahead}-{2:012d}"


class TestTrim:
    def test_what_is_not_delivered_stays(self, stream):
        put(stream, 3)
        deliver(stream)
        put(stream, 2)
        time.sleep(1.1)  # the trim's clock has seconds

        assert stream.trim(SHARD, 0) == 3
        assert len(stream.get_records(SHARD, None, 10).records) == 2

    def test_what_is_younger_than_the_retention_stays(self, stream):
        put(stream, 3)
        deliver(stream)

        assert stream.trim(SHARD, 3600) == 0

    def test_what_is_delivered_makes_room_and_what_is_not_stays_under_any_bound(self, stream, stream_redis_url):
        larger = RedisEventStream(stream_redis_url, "events", 1, 5_000)
        for _ in range(10):
            put(larger, 500)
        deliver(larger)
        deliver(larger)
        undelivered = larger.backlog()[SHARD]

        assert stream.trim(SHARD, 3600) > 0
        assert undelivered.records > 4_000
        assert larger.backlog()[SHARD]._replace(oldest_age_seconds=0) == undelivered._replace(oldest_age_seconds=0)

    def test_nothing_is_trimmed_before_the_first_delivery(self, stream):
        put(stream, 3)

        assert stream.trim(SHARD, 0) == 0

    def test_the_ordinal_goes_on_behind_a_stream_trimmed_to_nothing(self, stream):
        put(stream, 3)
        deliver(stream)
        time.sleep(1.1)
        stream.trim(SHARD, 0)

        assert stream.backlog("last_access")[SHARD] == (3, 0.0, 3, 0, None)
        put(stream, 1)
        assert stream.backlog()[SHARD].records == 1
        assert stream.backlog("last_access")[SHARD].trimmed_unread == 3


def test_the_intake_counts_every_record_ever_and_those_of_late(stream):
    assert stream.intake(60) == {SHARD: (0, 0)}
    put(stream, 3)
    assert stream.intake(60) == {SHARD: (3, 3)}
    deliver(stream)
    time.sleep(1.1)
    put(stream, 2)
    assert stream.intake(1)[SHARD] == (5, 2)
    stream.trim(SHARD, 0)
    assert stream.intake(60) == {SHARD: (5, 2)}


def test_what_a_consumer_lost_is_kept_from_lease_to_lease(stream):
    for lost in (2, 0, 5):
        lease = stream.acquire(SHARD, "last_access", "test", 5)
        lease.checkpoint(None, datetime.now(UTC), lost)
        lease.release()
    put(stream, 1)

    backlog = stream.backlog("last_access")[SHARD]
    assert (backlog.lost_records, backlog.trimmed_unread) == (7, 0)
    assert abs((datetime.now(UTC) - backlog.lost_at).total_seconds()) < 10


def test_reads_of_large_records_are_bounded_in_bytes(stream_redis_url):
    stream = RedisEventStream(stream_redis_url, "events", 1, 100_000)
    put(stream, 300, b"x" * 100_000)
    first = stream.get_records(SHARD, None, 10)
    page = stream.get_records(SHARD, first.records[-1].sequence_number, 500)

    assert len(page.records) == 40
    assert page.caught_up_to == page.records[-1].arrival


def test_shards_of_a_larger_number_of_shards_are_still_read(stream_redis_url):
    RedisEventStream(stream_redis_url, "events", 4, 100).put_records([(str(key), b"") for key in range(50)])

    assert len(RedisEventStream(stream_redis_url, "events", 2, 100).list_shards()) == 4


class TestServer:
    def test_a_stopped_server_fails_a_put_in_time_and_is_used_again(self, server):
        stream = RedisEventStream(server.url, "events", 4, 100)
        put(stream, 1)
        server.stop()

        began = time.monotonic()
        assert put(stream, 2) == [SERVICE_UNAVAILABLE] * 2
        assert time.monotonic() - began < 5
        with pytest.raises(StreamUnavailable):
            stream.get_records(SHARD, None, 1)
        server.resume()
        assert put(stream, 2) == [None] * 2

    def test_what_was_acknowledged_survives_a_kill(self, server):
        stream = RedisEventStream(server.url, "events", 1, 100)
        put(stream, 5)
        server.kill()
        assert put(stream, 1) == [SERVICE_UNAVAILABLE]
        server.start()

        assert put(stream, 1) == [None]
        assert len(stream.get_records(SHARD, None, 10).records) == 6

    def test_a_log_that_lost_its_tail_loses_progress_and_no_sense(self, server, tmp_path):
        stream = RedisEventStream(server.url, "events", 1, 100)
        put(stream, 5)
        log = tmp_path / "redis" / "appendonly.aof"
        kept = log.stat().st_size
        lease = stream.acquire(SHARD, "delivery", "a", 5)
        put(stream, 5)
        page = stream.get_records(SHARD, None, 10)
        lease.checkpoint(page.records[-1].sequence_number, page.caught_up_to)
        server.kill()
        os.truncate(log, kept)
        server.start()

        with pytest.raises((LeaseLost, StreamUnavailable)):
            lease.renew()
        assert stream.acquire(SHARD, "delivery", "a", 5).start == Checkpoint(None, None)
        assert stream.backlog()[SHARD].records == 5
        [again] = stream.put_records([("a", b"x")])
        assert again.sequence_number not in {record.sequence_number for record in page.records}
        assert again.sequence_number > page.records[4].sequence_number

    def test_without_memory_puts_fail_and_progress_is_recorded_all_the_same(self, server):
        stream = RedisEventStream(server.url, "events", 1, 100_000)
        put(stream, 400, b"x" * 10_000)
        with redis.Redis.from_url(server.url) as client:
            client.config_set("maxmemory", client.info("memory")["used_memory"] - 200_000)

        assert put(stream, 1) == [SERVICE_UNAVAILABLE]
        lease = stream.acquire(SHARD, "delivery", "a", 5)
        page = stream.get_records(SHARD, None, 500)
        lease.renew()
        lease.checkpoint(page.records[-1].sequence_number, page.caught_up_to)
        stream.trim(SHARD, 3600)
        assert put(stream, 1) == [None]

    def test_a_safe_server_is_taken(self, server):
        verify_stream_server(server.url)

    @pytest.mark.parametrize(
        ("option", "value", "message"),
        [("appendonly", "no", "append-only"), ("maxmemory-policy", "allkeys-lru", "noeviction")],
    )
    def test_a_server_that_may_lose_records_is_refused(self, server, option, value, message):
        with redis.Redis.from_url(server.url) as client:
            client.config_set(option, value)

        with pytest.raises(SettingError, match=message):
            verify_stream_server(server.url)

    def test_a_server_that_does_not_answer_is_no_wrong_setting(self, server):
        server.kill()

        with pytest.raises(StreamUnavailable):
            verify_stream_server(server.url)
        server.start()
