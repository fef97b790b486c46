"""A worker on Kinesis: it follows a full shard, and takes up those that others become, behind their parents."""

import gzip
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import groupby
from threading import Event, Thread
from typing import Any

import boto3
import pytest

from streaming.edges.event_stream import SHARD_END
from streaming.edges.kinesis_stream import KinesisEventStream
from streaming.edges.lake import LocalLake
from streaming.edges.shard_leases import LeasedStream, ShardLease, ShardLeases, connect
from streaming.runtime.delivery_stream import DeliveryStream
from streaming.runtime.event_source_mapping import EventSourceMapping, MappingOptions
from streaming.runtime.lambda_host import LambdaHost
from streaming.runtime.worker import Consumer, Worker, events_options
from streaming.settings import load_settings
from tests.kinesis_service import limit_reads

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
    consumers = [
        Consumer(name, open_stream(stream_redis_url), reader.run)
        for name, reader in (("first", first), ("second", second))
    ]
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


def test_three_consumers_follow_a_shard_that_takes_a_thousand_records_a_second(
    kinesis, stream_redis_url, tmp_path, monkeypatch, caplog
):
    """Eight seconds behind at first, within the five reads and 2 MB a second that all of them share."""
    limit_reads(monkeypatch)
    lake, done = LocalLake(tmp_path / "lake"), {"last_access": 0, "high_intent": 0}

    def consumer(name: str) -> Consumer:
        def count(event: Any, context: object) -> None:
            done[name] += len(event["Records"])

        function = LambdaHost(name, count, 5)
        mapping = EventSourceMapping(function, "events", lake, MappingOptions(500, 0.1))
        return Consumer(name, open_stream(stream_redis_url), mapping.run)

    def delivered() -> int:
        files = lake.path("raw").rglob("*.json.gz")
        return sum(gzip.decompress(path.read_bytes()).count(b"\n") for path in files)

    options = replace(events_options(load_settings()), buffer_bytes=1_000_000, buffer_seconds=1)
    delivery = Consumer("delivery", open_stream(stream_redis_url), DeliveryStream(options, lake).run)
    stream = open_stream(stream_redis_url)
    put = sum(_put_second(stream, 0) for _ in range(8))
    with working(delivery, consumer("last_access"), consumer("high_intent")) as worker:
        put += sum(_put_second(stream, 1.0) for _ in range(8))
        deadline = time.monotonic() + 6
        while min(delivered(), *done.values()) < put and time.monotonic() < deadline:
            time.sleep(0.2)
        assert {"delivery": delivered()} | done == dict.fromkeys(("delivery", *done), put), "each once, none again"

    assert not worker.failed
    assert "begins again" not in caplog.text


def _put_second(stream: KinesisEventStream, seconds: float) -> int:
    """Put what a shard takes in a second, evenly over so many seconds; how many records that is."""
    began = time.monotonic()
    for part in range(1, 11):
        results = stream.put_records([("user", b"%0300d" % number) for number in range(100)])
        assert all(result.error_code is None for result in results)
        time.sleep(max(0.0, began + part * seconds / 10 - time.monotonic()))
    return 1000
