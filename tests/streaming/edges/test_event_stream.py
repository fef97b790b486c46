"""What every event stream promises, whatever server it stands on."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Any

import pytest

from streaming.edges.event_stream import MAX_PUT_RECORDS, Checkpoint, EventStream, StreamRecord, caught_up
from streaming.edges.kinesis_stream import KinesisEventStream
from streaming.edges.redis_stream import RedisEventStream

SHARDS = 4


def redis_stream(request: pytest.FixtureRequest) -> EventStream:
    return RedisEventStream(request.getfixturevalue("stream_redis_url"), "events", SHARDS, 100_000)


def kinesis_stream(request: pytest.FixtureRequest) -> EventStream:
    request.getfixturevalue("kinesis")
    return KinesisEventStream("clickstream-events", "events")


@pytest.fixture(params=[redis_stream, kinesis_stream])
def stream(request: pytest.FixtureRequest) -> EventStream:
    open_stream: Callable[[Any], EventStream] = request.param
    return open_stream(request)


def read_all(stream: EventStream, shard: str, limit: int = 100) -> list[StreamRecord]:
    found: list[StreamRecord] = []
    while page := stream.get_records(shard, found[-1].sequence_number if found else None, limit, 0).records:
        found += page
    return found


def test_what_is_put_is_read_back_with_its_key_and_bytes(stream):
    data = bytes(range(256))

    [result] = stream.put_records([("Zoë", data)])

    [record] = [record for shard in stream.list_shards() for record in read_all(stream, shard)]
    assert (record.partition_key, record.data) == ("Zoë", data)
    assert (record.sequence_number, None) == result
    assert abs(record.arrival - datetime.now(UTC)) < timedelta(seconds=5)


def test_every_record_gets_a_result_of_its_own(stream):
    results = stream.put_records([(str(index % 7), b"%d" % index) for index in range(MAX_PUT_RECORDS)])

    assert len(results) == MAX_PUT_RECORDS
    assert all(result.error_code is None for result in results)
    by_sequence = {
        (record.partition_key, record.sequence_number): record.data
        for shard in stream.list_shards()
        for record in read_all(stream, shard)
    }
    assert [by_sequence[str(i % 7), result.sequence_number] for i, result in enumerate(results)] == [
        b"%d" % i for i in range(MAX_PUT_RECORDS)
    ]


def test_more_than_a_put_takes_is_the_callers_mistake(stream):
    with pytest.raises(ValueError, match="501"):
        stream.put_records([("a", b"")] * (MAX_PUT_RECORDS + 1))


def test_records_of_a_key_keep_their_order_while_many_put(stream):
    def put(user: int) -> None:
        for start in range(0, 60, 20):
            stream.put_records([(f"user{user}", b"%d" % index) for index in range(start, start + 20)])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(put, range(12)))

    for shard in stream.list_shards():
        records = read_all(stream, shard, limit=7)
        assert [r.sequence_number for r in records] == sorted({r.sequence_number for r in records})
        for _, of_user in groupby(sorted(records, key=lambda r: r.partition_key), key=lambda r: r.partition_key):
            assert [int(record.data) for record in of_user] == list(range(60))


def test_a_key_always_goes_to_the_same_shard(stream):
    stream.put_records([(str(user), b"") for user in range(100)])
    first = {r.partition_key: shard for shard in stream.list_shards() for r in read_all(stream, shard)}
    stream.put_records([(str(user), b"") for user in range(100)])

    for shard in stream.list_shards():
        assert {first[record.partition_key] for record in read_all(stream, shard)} <= {shard}
    assert len(set(first.values())) == SHARDS


def test_a_read_is_bounded_and_goes_on_behind_a_position(stream):
    stream.put_records([("a", b"%d" % index) for index in range(10)])
    [shard] = [shard for shard in stream.list_shards() if read_all(stream, shard)]

    page = stream.get_records(shard, None, 4, 0)
    rest = stream.get_records(shard, page.records[-1].sequence_number, 100, 0)

    assert [record.data for record in page.records + rest.records] == [b"%d" % index for index in range(10)]
    assert len(page.records) == 4


def test_nothing_that_arrived_before_caught_up_to_comes_later(stream):
    [shard, *_] = stream.list_shards()
    caught_up_to, last, seen = datetime.fromtimestamp(0, UTC), None, 0

    def put() -> None:
        for index in range(200):
            stream.put_records([(str(index), b"x"), (str(index + 1000), b"y")])

    with ThreadPoolExecutor(2) as pool:
        puts = [pool.submit(put), pool.submit(put)]
        while True:
            finished = all(done.done() for done in puts)
            page = stream.get_records(shard, last, 5, 0)
            assert all(record.arrival >= caught_up_to for record in page.records)
            assert page.caught_up_to >= caught_up_to
            caught_up_to = page.caught_up_to
            seen += len(page.records)
            last = page.records[-1].sequence_number if page.records else last
            if finished and not page.records:
                break
    assert seen


def test_an_empty_read_waits_for_the_next_record(stream):
    [shard] = [s for s in stream.list_shards() if stream.put_records([("a", b"1")]) and read_all(stream, s)]
    last = read_all(stream, shard)[-1].sequence_number

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(stream.get_records, shard, last, 10, 1.0)
        stream.put_records([("a", b"2")])
        assert [record.data for record in waiting.result(5).records] == [b"2"]


def test_an_empty_read_ends_when_nothing_comes(stream):
    [shard, *_] = stream.list_shards()

    assert stream.get_records(shard, None, 10, 0.05).records == []


@pytest.mark.parametrize(
    ("moments", "expected"),
    [((2, 1, 3), 1), ((2, None), None), ((None,), None), ((), None)],
    ids=["the least", "one was never read", "none was read", "no shard"],
)
def test_a_consumer_is_as_far_as_in_the_shard_where_it_is_least(
    moments: tuple[int | None, ...], expected: int | None
) -> None:
    def at(hour: int | None) -> datetime | None:
        return None if hour is None else datetime(2026, 11, 20, hour, tzinfo=UTC)

    assert caught_up(Checkpoint(None, at(hour)) for hour in moments) == at(expected)
