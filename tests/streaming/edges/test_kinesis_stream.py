"""What is particular to the event stream on Kinesis: partial failure, iterators, resharding, aggregated records."""

import json
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest

from streaming.edges.event_stream import MAX_PUT_RECORDS, SHARD_END, Checkpoint, LeaseLost, StreamUnavailable
from streaming.edges.kinesis_stream import PUT_SECONDS, KinesisEventStream
from streaming.edges.shard_leases import ShardLeases, connect
from tests.aggregates_of_records import aggregate
from tests.aws_proxy import AwsProxy, Faults, Request, break_off, cut, lose_answer, refuse, refuse_records

STREAM = "clickstream-events"
FIRST = "shardId-000000000000"
KEY_OF_FIRST = "a"
MIDDLE_OF_FIRST = str(2**125)
THROTTLED = "ProvisionedThroughputExceededException"


@pytest.fixture
def stream(kinesis: str, stream_redis_url: str) -> KinesisEventStream:
    return open_stream(stream_redis_url)


@pytest.fixture
def proxy(kinesis: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[AwsProxy]:
    with AwsProxy(kinesis) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL_KINESIS", proxy.address)
        yield proxy


def open_stream(redis_url: str) -> KinesisEventStream:
    return KinesisEventStream(STREAM, "events", ShardLeases(connect(redis_url), STREAM))


def of(operation: str) -> Any:
    return lambda request: request.operation == operation


def records(count: int) -> list[tuple[str, bytes]]:
    return [(f"user{index % 50}", b"%d" % index) for index in range(count)]


def everything(stream: KinesisEventStream) -> list[bytes]:
    found: list[bytes] = []
    for shard in stream.list_shards():
        after = None
        while page := stream.get_records(shard, after, 100, 0).records:
            found += [record.data for record in page]
            after = page[-1].sequence_number
    return found


def put_to_first(stream: KinesisEventStream, numbers: Iterable[int]) -> None:
    results = stream.put_records([(KEY_OF_FIRST, b"%d" % number) for number in numbers])
    assert all(result.error_code is None for result in results)


def sizes_of_puts(requests: Sequence[Request]) -> list[int]:
    return [len(json.loads(request.body)["Records"]) for request in requests if request.operation == "PutRecords"]


class TestPut:
    def test_only_refused_records_are_sent_again(self, stream, proxy):
        proxy.fault = Faults(refuse_records([7, 42, 499]), 1, of("PutRecords"))

        results = stream.put_records(records(MAX_PUT_RECORDS))

        assert all(result.error_code is None for result in results)
        assert sizes_of_puts(proxy.requests) == [500, 3]
        assert sorted(map(int, everything(stream))) == list(range(500))

    @pytest.mark.parametrize(
        ("fault", "code"),
        [
            (refuse_records(range(500), THROTTLED), THROTTLED),
            (refuse(400, THROTTLED), THROTTLED),
            (refuse(500, "InternalFailure"), "InternalFailure"),
            (cut, "ConnectionClosedError"),
        ],
    )  # fmt: skip
    def test_each_record_has_the_code_it_failed_with_once_the_time_is_up(self, stream, proxy, fault, code):
        proxy.fault = fault
        began = time.monotonic()

        results = stream.put_records(records(3))

        assert results == [(None, code)] * 3
        assert time.monotonic() - began < 2 * PUT_SECONDS + 1
        assert proxy.count("PutRecords") > 2
        proxy.fault = lambda request, forward: forward(request)
        assert everything(stream) == []

    def test_what_is_refused_for_good_leaves_the_others_acknowledged(self, stream, proxy):
        def full_shard(request: Request, forward: Any) -> Any:
            if request.operation != "PutRecords":
                return forward(request)
            keys = [record["PartitionKey"] for record in json.loads(request.body)["Records"]]
            return refuse_records([i for i, key in enumerate(keys) if key == "user1"])(request, forward)

        proxy.fault = full_shard
        results = stream.put_records(records(50))

        assert [i for i, result in enumerate(results) if result.error_code] == [1]
        assert len(everything(stream)) == 49

    def test_a_lost_acknowledgement_leaves_two_of_each(self, stream, proxy):
        proxy.fault = Faults(lose_answer, 1, of("PutRecords"))

        results = stream.put_records(records(10))

        assert all(result.error_code is None for result in results)
        assert sorted(everything(stream)) == sorted([data for _, data in records(10)] * 2)

    def test_an_answer_that_breaks_off_is_no_acknowledgement(self, stream, proxy):
        proxy.fault = Faults(break_off, 1, of("PutRecords"))

        results = stream.put_records(records(10))

        assert all(result.error_code is None for result in results)
        assert len(everything(stream)) == 20

    def test_more_bytes_than_a_request_takes_go_in_several(self, stream, proxy):
        results = stream.put_records([(str(index), bytes(900_000)) for index in range(11)])

        assert all(result.error_code is None for result in results)
        assert sizes_of_puts(proxy.requests) == [5, 5, 1]

    def test_a_stream_that_is_not_there_is_an_error_code(self, aws):
        assert KinesisEventStream("none", "events").put_records([("a", b"")]) == [(None, "ResourceNotFoundException")]


class TestReads:
    def test_an_expired_iterator_is_made_anew(self, stream, proxy):
        put_to_first(stream, range(3))
        first = stream.get_records(FIRST, None, 10, 0).records
        put_to_first(stream, range(3, 6))
        proxy.fault = Faults(refuse(400, "ExpiredIteratorException"), 1, of("GetRecords"))

        rest = stream.get_records(FIRST, first[-1].sequence_number, 10, 1.0).records

        assert [record.data for record in rest] == [b"3", b"4", b"5"]
        assert proxy.count("GetRecords") == 3

    def test_what_a_read_brings_beyond_a_page_comes_with_the_next_ones(self, stream, proxy):
        put_to_first(stream, range(10))
        pages = [stream.get_records(FIRST, None, 4, 0)]
        for _ in range(2):
            pages.append(stream.get_records(FIRST, pages[-1].records[-1].sequence_number, 4, 0))

        assert [record.data for page in pages for record in page.records] == [b"%d" % index for index in range(10)]
        assert proxy.count("GetRecords") == 1
        reached = [page.caught_up_to for page in pages]
        assert reached == sorted(reached)
        assert all(page.caught_up_to < page.records[-1].arrival for page in pages[:2])

    def test_a_reader_that_begins_again_reads_again_what_was_ahead(self, stream):
        put_to_first(stream, range(6))
        first = stream.get_records(FIRST, None, 2, 0).records
        stream.get_records(FIRST, first[-1].sequence_number, 2, 0)

        again = stream.get_records(FIRST, first[-1].sequence_number, 10, 0).records

        assert [record.data for record in again] == [b"2", b"3", b"4", b"5"]

    def test_a_throttled_read_is_tried_again_and_then_finds_nothing(self, stream, proxy):
        put_to_first(stream, [0])
        throttled = refuse(400, THROTTLED)
        proxy.fault = Faults(throttled, 2, of("GetRecords"))
        page = stream.get_records(FIRST, None, 10, 0)
        assert [record.data for record in page.records] == [b"0"]

        put_to_first(stream, [1])
        proxy.fault = Faults(throttled, 5, of("GetRecords"))
        last = page.records[-1].sequence_number
        assert stream.get_records(FIRST, last, 10, 1.0) == ([], page.caught_up_to, 0)
        assert [record.data for record in stream.get_records(FIRST, last, 10, 1.0).records] == [b"1"]

    def test_who_has_read_nothing_is_told_of_throttling(self, stream, proxy):
        stream.list_shards()
        proxy.fault = refuse(400, THROTTLED)

        for read in (lambda: stream.get_records(FIRST, None, 10, 0), stream.list_shards):
            with pytest.raises(StreamUnavailable, match="ProvisionedThroughputExceeded"):
                read()

    @pytest.mark.parametrize("behind", [0, 3_600_000], ids=["caught up", "behind, where there are no records"])
    def test_readers_leave_reads_for_others(self, stream, proxy, behind):
        def lagging(request: Request, forward: Any) -> Any:
            answer = forward(request)
            if request.operation != "GetRecords":
                return answer
            return answer._replace(body=json.dumps(json.loads(answer.body) | {"MillisBehindLatest": behind}).encode())

        proxy.fault = lagging
        stream.list_shards()
        until = time.monotonic() + 3
        while time.monotonic() < until:
            stream.get_records(FIRST, None, 100, 0)
            stream.get_records(FIRST, None, 100, 1.0)

        assert proxy.count("GetRecords") <= 6

    def test_it_is_caught_up_to_a_little_before_now(self, stream):
        page = stream.get_records(FIRST, None, 100, 0)

        assert timedelta(0) < datetime.now(UTC) - page.caught_up_to < timedelta(seconds=10)

    def test_a_server_that_is_away_is_unavailable(self, stream, monkeypatch, free_port):
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port}")

        with pytest.raises(StreamUnavailable):
            stream.list_shards()


class TestAggregates:
    PACKED = (("a", b"1"), ("b", b"2"), ("c", b"3"))

    @pytest.fixture
    def shard(self, stream):
        stream.put_records([("a", b"0"), ("a", aggregate(self.PACKED)), ("a", b"4")])
        [shard] = [s for s in stream.list_shards() if stream.get_records(s, None, 100, 0).records]
        return shard

    def test_user_records_are_read_one_by_one(self, stream, shard):
        page = stream.get_records(shard, None, 100, 0).records

        assert [record.data for record in page] == [b"0", b"1", b"2", b"3", b"4"]
        assert [record.partition_key for record in page] == ["a", "a", "b", "c", "a"]
        numbers = [record.sequence_number for record in page]
        assert numbers == sorted(set(numbers))

    def test_reading_goes_on_within_an_aggregate(self, stream, shard):
        page = stream.get_records(shard, None, 100, 0).records

        for place, record in enumerate(page):
            rest = KinesisEventStream(STREAM, "events").get_records(shard, record.sequence_number, 100, 0).records
            assert rest == page[place + 1 :]


@contextmanager
def leased(stream: KinesisEventStream, shard: str) -> Iterator[Any]:
    lease = stream.acquire(shard, "delivery", "worker", 10)
    assert lease
    yield lease
    lease.release()


class TestResharding:
    def test_a_parent_is_read_to_its_end_before_its_children(self, stream):
        client = boto3.client("kinesis")
        keys = [str(n) for n in range(200)]
        stream.put_records([(key, b"0") for key in keys])
        client.split_shard(StreamName=STREAM, ShardToSplit=FIRST, NewStartingHashKey=MIDDLE_OF_FIRST)
        stream.put_records([(key, b"1") for key in keys])
        children = [shard for shard in stream.list_shards() if shard > "shardId-000000000003"]
        assert len(children) == 2
        assert [stream.acquire(child, "delivery", "other", 10) for child in children] == [None, None]

        with leased(stream, FIRST) as lease:
            page = stream.get_records(FIRST, None, 500, 0)
            assert page.caught_up_to == SHARD_END
            assert {record.data for record in page.records} == {b"0"}
            assert stream.get_records(FIRST, page.records[-1].sequence_number, 500, 0) == ([], SHARD_END, 0)
            lease.checkpoint(page.records[0].sequence_number, page.records[0].arrival)
            assert stream.acquire(children[0], "delivery", "other", 10) is None
            lease.checkpoint(page.records[-1].sequence_number, page.caught_up_to)

        moved = set()
        for child in children:
            with leased(stream, child):
                page = stream.get_records(child, None, 500, 0)
                assert {record.data for record in page.records} == {b"1"}
                moved |= {record.partition_key for record in page.records}
            assert stream.acquire(child, "last_access", "other", 10) is None, "each consumer has a way of its own"
        assert moved

    def test_a_merged_shard_waits_for_both_its_parents(self, stream):
        second = "shardId-000000000001"
        boto3.client("kinesis").merge_shards(StreamName=STREAM, ShardToMerge=FIRST, AdjacentShardToMerge=second)
        [child] = [shard for shard in stream.list_shards() if shard > "shardId-000000000003"]
        for parent in (FIRST, second):
            assert stream.acquire(child, "delivery", "other", 10) is None
            with leased(stream, parent) as lease:
                lease.checkpoint(None, stream.get_records(parent, None, 10, 0).caught_up_to)

        with leased(stream, child) as lease:
            assert lease.start == Checkpoint(None, None)

    def test_progress_waits_for_children_and_not_for_ended_parents(self, stream):
        boto3.client("kinesis").split_shard(StreamName=STREAM, ShardToSplit=FIRST, NewStartingHashKey=MIDDLE_OF_FIRST)
        with leased(stream, FIRST) as lease:
            lease.checkpoint(None, SHARD_END)

        checkpoints = stream.checkpoints()

        assert checkpoints[FIRST] == Checkpoint(None, SHARD_END)
        assert sum(checkpoint.caught_up_to is None for checkpoint in checkpoints.values()) == 5
        assert stream.backlog()[FIRST].oldest_age_seconds == 0


class TestLeases:
    def test_a_worker_that_was_thought_dead_cannot_move_the_checkpoint(self, stream, stream_redis_url):
        lease = stream.acquire(FIRST, "delivery", "first", 0.05)
        time.sleep(0.1)
        other = open_stream(stream_redis_url)
        other.list_shards()
        with leased(other, FIRST) as taken:
            assert taken.epoch == lease.epoch + 1
            with pytest.raises(LeaseLost):
                lease.checkpoint("1", datetime.now(UTC))

    def test_leases_need_redis(self, kinesis):
        stream = KinesisEventStream(STREAM, "events")

        assert stream.list_shards()
        with pytest.raises(StreamUnavailable, match="REDIS_URL"):
            stream.acquire(FIRST, "delivery", "worker", 1)


def test_the_age_of_what_waits_is_known_before_the_first_checkpoint(stream):
    stream.put_records([(str(key), b"x") for key in range(40)])
    time.sleep(0.3)

    ages = {shard: before.oldest_age_seconds for shard, before in stream.backlog().items()}
    with leased(stream, FIRST) as lease:
        lease.checkpoint(None, datetime.now(UTC) - timedelta(seconds=60))

    assert len(ages) == 4
    assert all(0.3 <= age < 5 for age in ages.values())
    assert 60 <= stream.backlog()[FIRST].oldest_age_seconds < 65
    assert stream.backlog()[FIRST].records is None
    assert stream.undelivered() is None
