"""A worker on a stream whose shards split and merge: it takes up the new ones, behind their parents."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import groupby
from threading import Event, Thread

import boto3
import pytest

from streaming.edges.event_stream import SHARD_END
from streaming.edges.kinesis_stream import KinesisEventStream
from streaming.edges.shard_leases import LeasedStream, ShardLease, ShardLeases, connect
from streaming.runtime.worker import Consumer, Worker

STREAM = "clickstream-events"
USERS = [f"user{number}" for number in range(30)]

pytestmark = pytest.mark.timeout(120)


def open_stream(redis_url: str) -> KinesisEventStream:
    return KinesisEventStream(STREAM, "events", ShardLeases(connect(redis_url), STREAM))


class Reader:
    """A consumer that notes what it reads, in its order."""

    def __init__(self) -> None:
        self.read: list[tuple[str, int]] = []

    def run(self, stream: LeasedStream, lease: ShardLease, stop: Event) -> None:
        last, caught_up_to = lease.start.sequence_number, None
        while caught_up_to != SHARD_END and not stop.is_set():
            page = stream.get_records(lease.shard, last, 20, 0.2)
            caught_up_to = page.caught_up_to
            self.read += [(record.partition_key, int(record.data)) for record in page.records]
            last = page.records[-1].sequence_number if page.records else last
            lease.checkpoint(last, caught_up_to)


@contextmanager
def working(*consumers: Consumer) -> Iterator[Worker]:
    stop, ready = Event(), Event()
    worker = Worker(list(consumers), 5, stop)
    thread = Thread(target=worker.run, args=[ready.set])
    thread.start()
    try:
        assert ready.wait(20)
        yield worker
    finally:
        stop.set()
        thread.join(20)
        assert not thread.is_alive()


def reshard(shards: int) -> None:
    boto3.client("kinesis").update_shard_count(
        StreamName=STREAM, TargetShardCount=shards, ScalingType="UNIFORM_SCALING"
    )


def test_new_shards_are_read_behind_their_parents_and_each_user_in_order(kinesis, stream_redis_url):
    stream, first, second = open_stream(stream_redis_url), Reader(), Reader()
    consumers = [Consumer("first", stream, first.run), Consumer("second", stream, second.run)]
    rounds = 0

    def put() -> None:
        nonlocal rounds
        for _ in range(5):
            results = stream.put_records([(user, b"%d" % rounds) for user in USERS])
            assert all(result.error_code is None for result in results)
            rounds += 1

    put()
    with working(*consumers) as worker:
        for shards in (8, 3, 4):
            put()
            reshard(shards)
            put()
        deadline = time.monotonic() + 60
        while min(len(first.read), len(second.read)) < rounds * len(USERS) and time.monotonic() < deadline:
            time.sleep(0.1)

    assert not worker.failed
    in_order = list(range(rounds))
    for reader in (first, second):
        by_user = groupby(sorted(reader.read, key=lambda read: read[0]), key=lambda read: read[0])
        assert {user: [number for _, number in read] for user, read in by_user} == dict.fromkeys(USERS, in_order)


def test_a_worker_that_comes_later_begins_behind_the_ended_shards(kinesis, stream_redis_url):
    stream, reader = open_stream(stream_redis_url), Reader()
    stream.put_records([(user, b"0") for user in USERS])
    reshard(8)
    stream.put_records([(user, b"1") for user in USERS])
    for more in (2, 3):
        with working(Consumer("reader", open_stream(stream_redis_url), reader.run)):
            deadline = time.monotonic() + 30
            while len(reader.read) < more * len(USERS) and time.monotonic() < deadline:
                time.sleep(0.1)
        stream.put_records([(user, b"%d" % more) for user in USERS])

    assert sorted(reader.read) == sorted((user, number) for user in USERS for number in (0, 1, 2))
