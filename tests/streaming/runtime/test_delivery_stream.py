"""A delivery stream: what lands where, under which name, and when."""

import errno
import gzip
import shutil
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from threading import Event, Thread

import orjson
import pyarrow.parquet as pq
import pybase64
import pytest

from streaming.domain.envelope import new_record_ids, open_record, stamp
from streaming.domain.tables import ENRICHED_LANDING, HIGH_INTENT_VIEWS
from streaming.domain.timestamps import format_timestamp
from streaming.edges.event_stream import LeaseLost, ShardBatch
from streaming.edges.redis_stream import RedisEventStream
from streaming.runtime.delivery_stream import DeliveryOptions, DeliveryStream
from streaming.runtime.lambda_host import LambdaHost
from streaming.runtime.transform import Transform
from tests.streaming.runtime.conftest import ARRIVAL, read_lines

OPTIONS = DeliveryOptions(
    name="events",
    table=ENRICHED_LANDING,
    buffer_bytes=3_000_000,
    buffer_seconds=60,
    raw_prefix="raw",
    transform_errors="failed/enrichment",
    conversion_errors="failed/delivery",
    retention_seconds=3600,
)
HOUR = "year=2026/month=11/day=23/hour=04"


def to_row(event, context):
    """A transform that knows three kinds of events: good, bad, and those that it makes unconvertible."""
    answers = []
    for record in event["records"]:
        arrival = datetime.fromtimestamp(record["approximateArrivalTimestamp"] / 1000, UTC)
        envelope = open_record(pybase64.b64decode(record["data"]), arrival)
        body = orjson.loads(envelope.text)
        row = {"record_id": envelope.record_id, "arrival_timestamp": format_timestamp(envelope.arrival)}
        if body.get("unconvertible"):
            row["latitude"] = "north"
        answers.append(
            {
                "recordId": record["recordId"],
                "result": "ProcessingFailed" if body.get("bad") else "Ok",
                "data": pybase64.b64encode(orjson.dumps(row)).decode(),
            }
        )
    return {"records": answers}


def delivery_stream(lake, options=OPTIONS, handler=to_row):
    return DeliveryStream(options, lake, Transform(LambdaHost("enrichment", handler, 5), "events", 1_000_000))


def enveloped(*bodies, arrival=ARRIVAL):
    ids = new_record_ids(len(bodies))
    return [
        stamp(orjson.dumps(body), id_, format_timestamp(arrival), None) for body, id_ in zip(bodies, ids, strict=True)
    ]


def identities(data):
    return [orjson.loads(line)["record_id"] for line in data]


def landed(lake, prefix="enriched_landing"):
    return [
        row["record_id"]
        for path in sorted(lake.path(prefix).rglob("*.parquet"))
        for row in pq.read_table(path, partitioning=None).to_pylist()
    ]


def files(lake):
    return sorted(str(path.relative_to(lake.root)) for path in lake.root.rglob("*") if path.is_file())


def test_a_flush_lands_raw_and_rows_under_one_name(lake, records):
    data = enveloped(*({"n": n} for n in range(5)))
    batch = records(*data)
    delivery_stream(lake).deliver("shard", batch, Event())

    name = f"shard-{batch[0].sequence_number}-{batch[-1].sequence_number}"
    assert files(lake) == [f"enriched_landing/{HOUR}/{name}.parquet", f"raw/{HOUR}/{name}.json.gz"]
    assert gzip.decompress(lake.path(f"raw/{HOUR}/{name}.json.gz").read_bytes()) == b"".join(data)
    assert landed(lake) == identities(data)


def test_every_record_is_in_raw_and_in_enriched_or_failed(lake, records):
    data = enveloped({"n": 1}, {"bad": 1}, {"unconvertible": 1}, {"n": 2})
    delivery_stream(lake).deliver("shard", records(*data), Event())

    good, bad, unconvertible, other = identities(data)
    assert [line["record_id"] for line in read_lines(lake, "raw")] == [good, bad, unconvertible, other]
    assert landed(lake) == [good, other]
    [failed] = read_lines(lake, "failed/enrichment")
    assert failed["errorCode"] == "Lambda.ProcessingFailedStatus"
    assert pybase64.b64decode(failed["rawData"]) == data[1]
    assert failed["lambdaArn"].endswith("function:enrichment:$LATEST")
    [failed] = read_lines(lake, "failed/delivery")
    assert failed["errorCode"] == "DataFormatConversion.ParseError"
    assert pybase64.b64decode(failed["rawData"]) == data[2]
    assert failed["arrivalTimestamp"] == int(ARRIVAL.timestamp() * 1000) + 2


def test_a_transform_that_fails_sends_its_batch_to_the_error_prefix(lake, records):
    def fail(event, context):
        raise ValueError("\ud800 broken")

    data = enveloped({"n": 1}, {"n": 2})
    delivery_stream(lake, handler=fail).deliver("shard", records(*data), Event())

    failed = read_lines(lake, "failed/enrichment")
    assert [(line["errorCode"], line["attemptsMade"]) for line in failed] == [("Lambda.FunctionError", 4)] * 2
    assert len(read_lines(lake, "raw")) == 2
    assert landed(lake) == []


def test_bytes_that_are_no_json_are_kept(lake, records):
    def fail_all(event, context):
        return {"records": [{**r, "result": "ProcessingFailed"} for r in event["records"]]}

    delivery_stream(lake, handler=fail_all).deliver("shard", records(b"\xff\n\x00", b""), Event())

    raw = read_lines(lake, "raw")
    assert [pybase64.b64decode(line["event_base64"]) for line in raw] == [b"\xff\n\x00", b""]
    assert [pybase64.b64decode(line["rawData"]) for line in read_lines(lake, "failed/enrichment")] == [
        b"\xff\n\x00",
        b"",
    ]


def test_a_file_for_each_hour_of_arrival(lake, records):
    late = ARRIVAL + timedelta(hours=1)
    data = enveloped({"n": 1}) + enveloped({"n": 2}, {"n": 3}, arrival=late)
    batch = records(*data[:1]) + records(*data[1:], arrival=late)
    delivery_stream(lake).deliver("shard", batch, Event())

    name = f"shard-{batch[0].sequence_number}-{batch[-1].sequence_number}"
    assert [path.name for path in lake.list_hour("raw", ARRIVAL)] == [f"{name}.json.gz"]
    assert [path.name for path in lake.list_hour("enriched_landing", late)] == [f"{name}.parquet"]
    assert [hour.hour for hour in lake.landed_hours("raw")] == [4, 5]
    assert landed(lake) == identities(data)


def test_the_same_flush_again_gives_the_same_files(lake, records):
    batch = records(*enveloped(*({"n": n} for n in range(50))))
    delivery_stream(lake).deliver("shard", batch, Event())
    before = {path: lake.path(path).read_bytes() for path in files(lake)}
    delivery_stream(lake).deliver("shard", batch, Event())

    assert {path: lake.path(path).read_bytes() for path in files(lake)} == before


def test_without_a_transform_records_are_rows_of_their_own_hour(lake, records):
    options = replace(OPTIONS, table=HIGH_INTENT_VIEWS, raw_prefix=None, conversion_errors="errors/high_intent_views")
    row = {"record_id": "a" * 32, "arrival_timestamp": "2026-11-23T03:59:59.999000Z", "percent_viewed": 61.5}
    DeliveryStream(options, lake).deliver("shard", records(orjson.dumps(row), b"no row"), Event())

    assert landed(lake, "high_intent_views") == ["a" * 32]
    assert [hour.hour for hour in lake.landed_hours("high_intent_views")] == [3]
    [failed] = read_lines(lake, "errors/high_intent_views")
    assert pybase64.b64decode(failed["rawData"]) == b"no row"
    assert not lake.path("raw").exists()


def test_a_full_disk_is_waited_for(lake, records, monkeypatch):
    publish, refused = lake.publish, []

    def refuse_twice(path, data):
        if len(refused) < 2:
            refused.append(path)
            raise OSError(errno.ENOSPC, "No space left on device")
        publish(path, data)

    monkeypatch.setattr(lake, "publish", refuse_twice)
    data = enveloped({"n": 1})
    delivery_stream(lake).deliver("shard", records(*data), Event())

    assert len(refused) == 2
    assert landed(lake) == identities(data)


class CountedReads(RedisEventStream):
    """A stream that says how far its reader is."""

    records_read = 0

    def get_records(self, shard, after, limit, wait_seconds=0):
        page = super().get_records(shard, after, limit, wait_seconds)
        self.records_read += len(page.records)
        return page


class Running:
    """A delivery stream at work on the one shard of a stream."""

    def __init__(self, url, lake, handler=to_row, **options):
        self.stream = CountedReads(url, "events", 1, 100_000)
        [self.shard] = self.stream.list_shards()
        self.lease = self.stream.acquire(self.shard, "delivery", "test", 30)
        self.stop = Event()
        self.errors = []
        delivery = delivery_stream(lake, replace(OPTIONS, **options), handler)

        def run():
            try:
                delivery.run(self.stream, self.lease, self.stop)
            except Exception as error:
                self.errors.append(error)

        self.thread = Thread(target=run)
        self.thread.start()

    def put(self, *bodies):
        data = [
            stamp(orjson.dumps(body), id_, format_timestamp(datetime.now(UTC)), None)
            for body, id_ in zip(bodies, new_record_ids(len(bodies)), strict=True)
        ]
        assert all(result.sequence_number for result in self.stream.put_records([("user", line) for line in data]))
        return data

    def end(self):
        self.stop.set()
        self.thread.join(30)
        assert not self.thread.is_alive()


@pytest.fixture
def running(stream_redis_url, lake):
    started = []

    def start(**options):
        started.append(Running(stream_redis_url, lake, **options))
        return started[-1]

    yield start
    for each in started:
        each.end()


def eventually(condition, seconds=30.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


def test_a_buffer_is_flushed_when_it_is_full(running, lake):
    delivery = running(buffer_bytes=2000)
    delivery.put(*[{"text": "x" * 500}] * 5)

    eventually(lambda: len(landed(lake)) == 5)
    eventually(lambda: delivery.stream.backlog()[delivery.shard].records == 0)


def test_a_buffer_is_flushed_when_it_is_old(running, lake):
    delivery = running(buffer_seconds=0.4)
    began = time.monotonic()
    delivery.put({"n": 1})

    eventually(lambda: len(landed(lake)) == 1)
    assert time.monotonic() - began >= 0.4


def test_a_buffer_grows_old_while_records_keep_coming(running, lake):
    delivery = running(buffer_seconds=0.5)

    def files_after_one_more():
        delivery.put({"n": 1})
        return len(files(lake))

    eventually(lambda: files_after_one_more() >= 4)


def test_a_buffer_is_flushed_when_its_hour_ends(stream_redis_url, lake, records):
    before = datetime(2026, 11, 23, 4, 59, 59, 900_000, tzinfo=UTC)
    [first, second] = records(*enveloped({"n": 1}, {"n": 2}, arrival=before), arrival=before)
    pages = [ShardBatch([first], before), ShardBatch([second], before + timedelta(seconds=0.2))]

    class Clocked(RedisEventStream):
        """Answers reads by a script, at the times of the script."""

        def get_records(self, shard, after, limit, wait_seconds=0):
            return pages.pop(0) if pages else ShardBatch([], before + timedelta(seconds=0.3))

    stream, stop = Clocked(stream_redis_url, "events", 1, 100), Event()
    lease = stream.acquire("shardId-000000000000", "delivery", "test", 30)
    thread = Thread(target=delivery_stream(lake).run, args=[stream, lease, stop])
    thread.start()
    eventually(lambda: len(landed(lake)) == 2)
    stop.set()
    thread.join(30)

    assert len(files(lake)) == 2
    assert stream.checkpoints()[lease.shard].caught_up_to >= before + timedelta(seconds=0.2)


def test_a_stop_flushes_what_is_buffered_and_checkpoints_it(running, lake):
    delivery = running()
    delivery.put({"n": 1}, {"bad": 1})
    eventually(lambda: delivery.stream.records_read == 2)
    assert files(lake) == []
    delivery.end()

    assert len(landed(lake)) == 1
    assert len(read_lines(lake, "failed/enrichment")) == 1
    assert delivery.stream.backlog()[delivery.shard].records == 0


def test_an_idle_shard_still_follows_the_clock(running):
    delivery = running()
    eventually(lambda: delivery.stream.checkpoints()[delivery.shard].caught_up_to)
    first = delivery.stream.checkpoints()[delivery.shard].caught_up_to

    eventually(lambda: delivery.stream.checkpoints()[delivery.shard].caught_up_to > first)
    assert delivery.stream.checkpoints()[delivery.shard].sequence_number is None


def test_the_checkpoint_waits_for_the_files(running, lake, monkeypatch):
    refused = []

    def refuse(path, data):
        refused.append(path)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(lake, "publish", refuse)
    delivery = running(buffer_seconds=0.1)
    delivery.put({"n": 1})
    eventually(lambda: len(refused) > 1)
    assert delivery.stream.backlog()[delivery.shard].records == 1
    delivery.end()

    assert isinstance(delivery.errors[0], OSError)
    assert delivery.stream.backlog()[delivery.shard].records == 1


def test_a_lease_that_is_lost_ends_the_work(running):
    delivery = running(buffer_seconds=0.1)
    delivery.stream.acquire(delivery.shard, "delivery", "test", 30)  # the same owner again: a new epoch
    delivery.put({"n": 1})
    delivery.thread.join(30)

    assert [type(error) for error in delivery.errors] == [LeaseLost]
    assert delivery.stream.backlog()[delivery.shard].records == 1


def test_a_lease_that_its_renewal_finds_lost_ends_the_work_before_the_buffer_is_due(running, lake):
    delivery = running()
    delivery.put({"n": 1})
    delivery.stream.acquire(delivery.shard, "delivery", "test", 30)
    with pytest.raises(LeaseLost):
        delivery.lease.renew()
    delivery.thread.join(30)

    assert [type(error) for error in delivery.errors] == [LeaseLost]
    assert files(lake) == []


def test_the_next_lease_goes_on_behind_what_is_delivered(running, lake):
    first = running(buffer_bytes=1)
    first.put({"n": 1})
    eventually(lambda: first.stream.backlog()[first.shard].records == 0)
    first.end()
    shutil.rmtree(lake.root)
    second = running(buffer_bytes=1)
    put = second.put({"n": 2})
    eventually(lambda: second.stream.backlog()[second.shard].records == 0)

    assert landed(lake) == identities(put)
