"""The event source mapping's contract: what an answer means, and that every record comes to an end."""

import base64
import time
from datetime import UTC, datetime, timedelta
from threading import Event, Thread

import orjson
import pybase64
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streaming.edges.event_stream import LeaseLost, StreamRecord
from streaming.edges.lake import LocalLake
from streaming.edges.redis_stream import RedisEventStream
from streaming.runtime import event_source_mapping
from streaming.runtime.event_source_mapping import EventSourceMapping, MappingOptions
from streaming.runtime.lambda_host import MAX_PAYLOAD_BYTES, LambdaHost
from tests.streaming.runtime.conftest import read_lines

NOW = datetime.now(UTC)


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    monkeypatch.setattr(event_source_mapping, "_FIRST_PAUSE_SECONDS", 0.0001)


class Function:
    """A function under test: remembers the batches it got, and answers by `answer(batch)`."""

    def __init__(self, answer):
        self.batches = []
        self._answer = answer

    def __call__(self, event, context):
        batch = [base64.b64decode(record["kinesis"]["data"]).decode() for record in event["Records"]]
        self.batches.append("".join(batch))
        return self._answer(event["Records"])


def failures(*letters):
    """Answers that report the records of these letters."""

    def answer(records):
        return {
            "batchItemFailures": [
                {"itemIdentifier": record["kinesis"]["sequenceNumber"]}
                for record in records
                if base64.b64decode(record["kinesis"]["data"]).decode() in letters
            ]
        }

    return answer


def mapping(lake, function, **options):
    host = LambdaHost("probe", function, 5)
    return EventSourceMapping(host, "events", lake, MappingOptions(**{"batch_size": 10, "max_retries": 1, **options}))


def process(lake, function, records, **options):
    done = mapping(lake, function, **options).process("shard", records, Event())
    kept = [pybase64.b64decode(line["rawData"]).decode() for line in read_lines(lake, "failed/probe")]
    return done, "".join(kept)


def letters(records, text):
    return records(*(letter.encode() for letter in text), arrival=NOW)


def test_the_event_is_lambdas(lake, records):
    seen = []
    [record] = records(b"data", arrival=NOW)
    process(lake, lambda event, context: seen.append(event), [record])

    [entry] = seen[0]["Records"]
    assert entry["eventSource"] == "aws:kinesis"
    assert entry["eventName"] == "aws:kinesis:record"
    assert entry["eventID"] == f"shard:{record.sequence_number}"
    assert entry["eventSourceARN"].endswith("stream/events")
    assert entry["kinesis"] == {
        "kinesisSchemaVersion": "1.0",
        "partitionKey": "user",
        "sequenceNumber": record.sequence_number,
        "data": base64.b64encode(b"data").decode(),
        "approximateArrivalTimestamp": record.arrival.timestamp(),
    }


def raising(records):
    raise ValueError("broken")


WHOLE_BATCH_FAILS = ["abcd", "ab", "a", "b", "cd", "c", "d"]


@pytest.mark.parametrize(
    ("answer", "batches"),
    [
        (lambda records: None, ["abcd"]),
        (lambda records: {}, ["abcd"]),
        (lambda records: {"batchItemFailures": []}, ["abcd"]),
        (lambda records: {"batchItemFailures": None}, ["abcd"]),
        (lambda records: {"other": 1}, ["abcd"]),
    ],
)
def test_answers_that_are_success(lake, records, answer, batches):
    function = Function(answer)

    assert process(lake, function, letters(records, "abcd")) == (4, "")
    assert function.batches == batches


@pytest.mark.parametrize(
    "answer",
    [
        raising,
        lambda records: "done",
        lambda records: 0,
        lambda records: [],
        lambda records: {"batchItemFailures": [{"itemIdentifier": ""}]},
        lambda records: {"batchItemFailures": [{"itemIdentifier": None}]},
        lambda records: {"batchItemFailures": [{"itemIdentifier": "unknown"}]},
        lambda records: {"batchItemFailures": [{"id": records[0]["kinesis"]["sequenceNumber"]}]},
        lambda records: {"batchItemFailures": ["a"]},
        lambda records: {"batchItemFailures": 3},
        lambda records: {"batchItemFailures": [{"itemIdentifier": []}]},
    ],
)
def test_answers_that_fail_the_whole_batch(lake, records, answer):
    function = Function(answer)

    assert process(lake, function, letters(records, "abcd"), max_retries=0) == (4, "abcd")
    assert function.batches == WHOLE_BATCH_FAILS


@pytest.mark.parametrize(
    ("failing", "options", "batches", "kept"),
    [
        # the lowest failed record is where the batch is cut; what lies before it is done
        ("c", {}, ["abcd", "cd", "c", "c", "d"], "c"),
        ("cb", {}, ["abcd", "bcd", "b", "b", "cd", "c", "c", "d"], "bc"),
        ("d", {}, ["abcd", "d", "d"], "d"),
        ("a", {}, ["abcd", "a", "a", "bcd"], "a"),
        # cutting and splitting are not charged to the retries
        ("c", {"max_retries": 0}, ["abcd", "cd", "c", "d"], "c"),
        ("c", {"max_retries": 3}, ["abcd", "cd", "c", "c", "c", "c", "d"], "c"),
        # without bisecting, what is left of the batch stays together
        ("c", {"bisect": False}, ["abcd", "cd", "cd"], "cd"),
        ("a", {"bisect": False, "max_retries": 2}, ["abcd", "abcd", "abcd"], "abcd"),
    ],
)
def test_reported_failures(lake, records, failing, options, batches, kept):
    function = Function(failures(*failing))

    assert process(lake, function, letters(records, "abcd"), **options) == (4, kept)
    assert function.batches == batches


def test_an_error_halves_the_batch_until_the_poison_is_alone(lake, records):
    def poisoned(entries):
        if any(base64.b64decode(entry["kinesis"]["data"]) == b"f" for entry in entries):
            raise ValueError("broken")

    function = Function(poisoned)

    assert process(lake, function, letters(records, "abcdefgh")) == (8, "f")
    assert function.batches == ["abcdefgh", "abcd", "efgh", "ef", "e", "f", "f", "gh"]


def test_a_failure_that_passes_leaves_nothing_in_the_destination(lake, records):
    calls = []

    def answer(entries):
        calls.append(1)
        if len(calls) < 4:
            raise ConnectionError

    assert process(lake, Function(answer), letters(records, "a"), max_retries=10) == (1, "")


def test_the_failure_destination_has_the_records_and_why(lake, records):
    [record] = letters(records, "a")
    process(lake, Function(raising), [record], max_retries=2)

    [kept] = read_lines(lake, "failed/probe")
    assert kept["errorCode"] == "RetryAttemptsExhausted"
    assert kept["errorMessage"] == "ValueError: broken"
    assert kept["attemptsMade"] == 3
    assert kept["arrivalTimestamp"] == int(record.arrival.timestamp() * 1000)
    assert pybase64.b64decode(kept["rawData"]) == b"a"


def test_an_old_record_is_given_up_at_its_first_failure(lake, records):
    function = Function(raising)
    old = records(b"a", arrival=NOW - timedelta(hours=2))
    process(lake, function, old, max_retries=100)

    assert function.batches == ["a"]
    assert read_lines(lake, "failed/probe")[0]["errorCode"] == "RecordAgeExceeded"


def test_batches_are_cut_at_their_size_and_below_lambdas_payload(lake, records):
    sizes = []

    def handler(event, context):
        assert len(orjson.dumps(event)) < MAX_PAYLOAD_BYTES
        sizes.append(len(event["Records"]))

    process(lake, handler, records(*[b"x" * 1_000_000] * 10, *[b"y"] * 12, arrival=NOW), batch_size=10)

    assert sizes == [4, 4, 10, 4]


@settings(max_examples=40)
@given(
    outcomes=st.lists(st.sampled_from(["fine", "reported", "raises", "once"]), min_size=1, max_size=25),
    batch_size=st.integers(1, 12),
    retries=st.integers(0, 2),
    bisect=st.booleans(),
)
def test_every_record_is_processed_or_kept(tmp_path_factory, outcomes, batch_size, retries, bisect):
    lake = LocalLake(tmp_path_factory.mktemp("lake"))
    processed, failed_once = [], set()

    def handler(event, context):
        reported = []
        for entry in event["Records"]:
            index = int(base64.b64decode(entry["kinesis"]["data"]))
            outcome = outcomes[index]
            if outcome == "raises" or (outcome == "once" and index not in failed_once):
                failed_once.add(index)
                raise ValueError("broken")
            if outcome == "reported":
                reported.append({"itemIdentifier": entry["kinesis"]["sequenceNumber"]})
            else:
                processed.append(index)
        return {"batchItemFailures": reported}

    records = [StreamRecord(f"{index:09d}", NOW, "user", b"%d" % index) for index in range(len(outcomes))]
    done, _ = process(lake, handler, records, batch_size=batch_size, max_retries=retries, bisect=bisect)

    kept = [int(pybase64.b64decode(line["rawData"])) for line in read_lines(lake, "failed/probe")]
    assert done == len(outcomes)
    assert set(processed) | set(kept) == set(range(len(outcomes)))
    assert kept == sorted(set(kept))
    if bisect:
        assert set(kept) <= {i for i, outcome in enumerate(outcomes) if outcome != "fine"}


class TestOnAStream:
    @pytest.fixture
    def stream(self, stream_redis_url):
        return RedisEventStream(stream_redis_url, "events", 1, 100_000)

    def run(self, stream, lake, function, stop, **options):
        [shard] = stream.list_shards()
        lease = stream.acquire(shard, "probe", "test", 30)
        thread = Thread(target=mapping(lake, function, **options).run, args=[stream, lease, stop])
        thread.start()
        return thread

    def wait_for(self, condition):
        deadline = time.monotonic() + 30
        while not condition():
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def test_it_reads_from_the_oldest_record_in_order_and_checkpoints(self, stream, lake):
        stream.put_records([("a", b"%d" % index) for index in range(25)])
        function, stop = Function(lambda records: None), Event()
        thread = self.run(stream, lake, function, stop)
        self.wait_for(lambda: stream.backlog("probe")["shardId-000000000000"].records == 0)
        stop.set()
        thread.join(30)

        assert "".join(function.batches) == "".join(map(str, range(25)))
        assert [len(function.batches), function.batches[0]] == [3, "0123456789"]

    def test_a_window_gathers_a_batch(self, stream, lake):
        function, stop = Function(lambda records: None), Event()
        thread = self.run(stream, lake, function, stop, batch_size=3, window_seconds=5)
        for letter in b"abc":
            stream.put_records([("a", bytes([letter]))])
            time.sleep(0.05)
        self.wait_for(lambda: function.batches)
        stop.set()
        thread.join(30)

        assert function.batches == ["abc"]

    def test_a_stop_in_mid_retry_keeps_what_is_done_and_gives_nothing_up(self, stream, lake):
        stream.put_records([("a", b"a"), ("a", b"b"), ("a", b"c")])
        function, stop = Function(failures("b")), Event()
        thread = self.run(stream, lake, function, stop, max_retries=1_000_000)
        self.wait_for(lambda: len(function.batches) > 5)
        stop.set()
        thread.join(30)

        assert stream.backlog("probe")["shardId-000000000000"].records == 2
        assert read_lines(lake, "failed/probe") == []

    def test_the_next_lease_goes_on_behind_what_is_done(self, stream, lake):
        function = Function(lambda records: None)
        for letter in b"ab":
            stream.put_records([("a", bytes([letter]))])
            stop = Event()
            thread = self.run(stream, lake, function, stop)
            self.wait_for(lambda: stream.backlog("probe")["shardId-000000000000"].records == 0)
            stop.set()
            thread.join(30)

        assert function.batches == ["a", "b"]

    def test_records_that_were_trimmed_before_they_were_read_are_counted(self, stream, lake):
        stream.put_records([("a", b"lost")] * 3)
        lease = stream.acquire("shardId-000000000000", "delivery", "test", 5)
        page = stream.get_records(lease.shard, None, 10)
        lease.checkpoint(page.records[-1].sequence_number, page.caught_up_to)
        time.sleep(1.1)
        assert stream.trim(lease.shard, 0) == 3
        stream.put_records([("a", b"x")])
        stop = Event()
        thread = self.run(stream, lake, Function(lambda records: None), stop)
        self.wait_for(lambda: stream.backlog("probe")["shardId-000000000000"].records == 0)
        stop.set()
        thread.join(30)

        assert stream.backlog("probe")["shardId-000000000000"].lost_records == 3

    def test_a_lease_that_is_lost_ends_the_work(self, stream, lake):
        stop = Event()
        [shard] = stream.list_shards()
        lease = stream.acquire(shard, "probe", "test", 30)
        stream.acquire(shard, "probe", "test", 30)
        with pytest.raises(LeaseLost):
            lease.renew()
        stream.put_records([("a", b"a")])
        function = Function(lambda records: None)

        with pytest.raises(LeaseLost):
            mapping(lake, function).run(stream, lease, stop)
        assert function.batches == []
