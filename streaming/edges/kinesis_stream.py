"""The event stream on Kinesis Data Streams; its workers' leases and checkpoints live beside it, on Redis.

Sequence numbers are Kinesis's own, padded to sort as text. Records that a producer library aggregated are read one by
one, as `<sequence number>-<place in the aggregate>`.

Kinesis keeps the order of a key between puts. Within a put, and for records that a shard refused at first and took at
a later try, it promises none.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

from streaming.domain.aggregated_records import deaggregate
from streaming.domain.batches import batches
from streaming.edges.aws import client
from streaming.edges.backoff import pause_seconds
from streaming.edges.event_stream import (
    DELIVERY,
    MAX_PUT_RECORDS,
    SHARD_END,
    Backlog,
    Checkpoint,
    Intake,
    PutResult,
    ShardBatch,
    StreamRecord,
    StreamUnavailable,
)

if TYPE_CHECKING:  # who only puts loads no client of Redis
    from streaming.edges.shard_leases import ShardLease, ShardLeases

# Kinesis takes 10 MiB today; what it took for ten years costs a second call at most.
MAX_PUT_BYTES = 5_000_000
# Below what the collector lets a request wait, and it tries no code of ours again.
PUT_SECONDS = 1.0

_PUT_ANSWER_SECONDS = 2.0
_FIRST_PAUSE_SECONDS = 0.05
# All who read a shard share five reads a second, however little each brings: three consumers take four. So that each of
# them can follow a shard that is full, a read asks for all that the service gives at once, which is 10 MB at most.
_POLL_SECONDS = 0.7
_READ_RECORDS = 10_000
_MAX_WAIT_SECONDS = 1.0
# Kinesis says neither that arrivals grow from record to record nor what its clock shows.
_CLOCK_DOUBT = timedelta(seconds=5)
_EPOCH = datetime.fromtimestamp(0, UTC)
_SEQUENCE_DIGITS = 56


class _Cursor(NamedTuple):
    """A position in a shard: all that arrived before `caught_up_to` lies before it.

    `ahead` was read and is not handed out; with it one is caught up to `reached`. The next read begins with `iterator`,
    None at the shard's end, and not before `due`.
    """

    after: str | None
    iterator: str | None
    ahead: Sequence[StreamRecord] = ()
    caught_up_to: datetime = _EPOCH
    reached: datetime = _EPOCH
    due: float = 0.0


class KinesisEventStream:
    """A `LeasedStream` on the Kinesis stream `stream`; without `leases` it can be put to and read, and not shared.

    Connects when it is first used. Safe to use from many threads. What a read brings beyond what was asked for is kept
    for the next page: at most 10 MB a shard, for one reader of each. Others that read beside it read anew.
    """

    shard_limit: int | None = None

    def __init__(self, stream: str, name: str, leases: "ShardLeases | None" = None) -> None:
        self.name = name
        self._stream = stream
        self._optional_leases = leases
        self._parents: dict[str, list[str]] = {}
        self._cursors: dict[str, _Cursor] = {}

    def list_shards(self) -> list[str]:
        request: dict[str, Any] = {"StreamName": self._stream}
        found: dict[str, list[str]] = {}
        while request:
            with _unavailable_on_aws_error():
                answer = self._reader.list_shards(**request)
            for shard in answer["Shards"]:
                parents = (shard.get("ParentShardId"), shard.get("AdjacentParentShardId"))
                found[shard["ShardId"]] = [parent for parent in parents if parent]
            request = {"NextToken": answer["NextToken"]} if answer.get("NextToken") else {}
        # Parents that the stream has forgotten with all their records need not be waited for.
        self._parents = {shard: [p for p in parents if p in found] for shard, parents in found.items()}
        return sorted(found)

    def put_records(self, records: Sequence[tuple[str, bytes]]) -> list[PutResult]:
        if len(records) > MAX_PUT_RECORDS:
            raise ValueError(f"{len(records)} records in one put; at most {MAX_PUT_RECORDS}")
        results = [PutResult(None, None)] * len(records)
        pending, tried, deadline = list(range(len(records))), 0, time.monotonic() + PUT_SECONDS
        while pending:
            for indexes in batches(pending, lambda index: _put_bytes(records[index]), MAX_PUT_BYTES):
                put = self._put([records[index] for index in indexes])
                for index, result in zip(indexes, put, strict=True):
                    results[index] = result
            pending = [index for index in pending if results[index].error_code]
            pause = pause_seconds(tried, _FIRST_PAUSE_SECONDS, PUT_SECONDS)
            if time.monotonic() + pause > deadline:
                break
            if pending:
                time.sleep(pause)
            tried += 1
        return results

    def get_records(self, shard: str, after: str | None, limit: int, wait_seconds: float = 0) -> ShardBatch:
        deadline = time.monotonic() + min(wait_seconds, _MAX_WAIT_SECONDS)
        while True:
            cursor = self._cursors.get(shard)
            if cursor is None or cursor.after != after:
                cursor = _Cursor(after, self._iterator(shard, after))
            if not cursor.ahead:
                time.sleep(max(0.0, min(cursor.due, deadline) - time.monotonic()))
                if cursor.iterator is None or cursor.due > deadline:
                    return ShardBatch([], cursor.caught_up_to)
                cursor = self._read(shard, cursor)
            batch = self._hand_out(shard, cursor, limit)
            if batch.records or batch.caught_up_to == SHARD_END or time.monotonic() >= deadline:
                return batch

    def acquire(self, shard: str, consumer: str, owner: str, ttl_seconds: float) -> "ShardLease | None":
        if not self._parents:
            self.list_shards()
        parents = self._parents.get(shard)
        if parents is None:  # the stream has forgotten it
            return None
        read = self._leases.checkpoints(parents, consumer).values()
        if any(parent.caught_up_to != SHARD_END for parent in read):
            return None
        return self._leases.acquire(shard, consumer, owner, ttl_seconds)

    def checkpoints(self, consumer: str = DELIVERY) -> dict[str, Checkpoint]:
        known = self._leases.checkpoints(self.list_shards(), consumer)
        # Listed once more: a parent that is read to its end since the first list has children that may not be in it.
        return {shard: known.get(shard, Checkpoint(None, None)) for shard in self.list_shards()}

    def undelivered(self) -> None:
        self.list_shards()

    def backlog(self, consumer: str = DELIVERY) -> dict[str, Backlog]:
        return {
            shard: Backlog(None, self._age(shard, checkpoint), 0, 0, None)
            for shard, checkpoint in self.checkpoints(consumer).items()
        }

    def intake(self, seconds: float) -> dict[str, Intake]:
        return {}

    def trim(self, shard: str, retention_seconds: float) -> int:
        return 0

    def close(self) -> None:
        if self._optional_leases:
            self._optional_leases.close()

    @cached_property
    def _writer(self) -> Any:
        return client("kinesis", read_seconds=_PUT_ANSWER_SECONDS, attempts=1)

    @cached_property
    def _reader(self) -> Any:
        return client("kinesis", read_seconds=10, attempts=5, connections=50)

    @property
    def _leases(self) -> "ShardLeases":
        if self._optional_leases is None:
            raise StreamUnavailable("the leases on the stream's shards need REDIS_URL")
        return self._optional_leases

    def _put(self, records: Sequence[tuple[str, bytes]]) -> list[PutResult]:
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

        entries = [{"PartitionKey": key, "Data": data} for key, data in records]
        try:
            answer = self._writer.put_records(StreamName=self._stream, Records=entries)
        except ClientError as error:
            return [PutResult(None, error.response["Error"]["Code"])] * len(records)
        except (BotoCoreError, OSError) as error:
            return [PutResult(None, type(error).__name__)] * len(records)
        return [
            PutResult(None, entry["ErrorCode"])
            if entry.get("ErrorCode")
            else PutResult(_padded(entry["SequenceNumber"]), None)
            for entry in answer["Records"]
        ]

    def _iterator(self, shard: str, after: str | None) -> str:
        position: dict[str, str] = {"ShardIteratorType": "TRIM_HORIZON"}
        if after:
            number, _, place = after.partition("-")
            kind = "AT_SEQUENCE_NUMBER" if place else "AFTER_SEQUENCE_NUMBER"
            position = {"ShardIteratorType": kind, "StartingSequenceNumber": str(int(number))}
        with _unavailable_on_aws_error():
            answer = self._reader.get_shard_iterator(StreamName=self._stream, ShardId=shard, **position)
        iterator: str = answer["ShardIterator"]
        return iterator

    def _read(self, shard: str, cursor: _Cursor) -> _Cursor:
        """The same position with what lies ahead of it; a read that Kinesis throttles finds nothing.

        Raises:
            StreamUnavailable: the server does not answer, or throttles the first read of a position.
        """
        asked = datetime.now(UTC)
        with _unavailable_on_aws_error():
            try:
                answer = self._reader.get_records(ShardIterator=cursor.iterator, Limit=_READ_RECORDS)
            except self._reader.exceptions.ExpiredIteratorException:
                iterator = self._iterator(shard, cursor.after)
                answer = self._reader.get_records(ShardIterator=iterator, Limit=_READ_RECORDS)
            except self._reader.exceptions.ProvisionedThroughputExceededException:
                if cursor.caught_up_to == _EPOCH:
                    raise
                return cursor._replace(due=time.monotonic() + _POLL_SECONDS)
        found = chain.from_iterable(map(_user_records, answer["Records"]))
        ahead = [record for record in found if record.sequence_number > (cursor.after or "")]
        behind = timedelta(milliseconds=answer["MillisBehindLatest"])
        if answer.get("NextShardIterator") is None:
            reached = SHARD_END
        elif ahead and (behind or len(answer["Records"]) == _READ_RECORDS):
            reached = ahead[-1].arrival - _CLOCK_DOUBT
        else:
            reached = asked - behind - _CLOCK_DOUBT
        due = time.monotonic() + _POLL_SECONDS
        return cursor._replace(iterator=answer.get("NextShardIterator"), ahead=ahead, reached=reached, due=due)

    def _hand_out(self, shard: str, cursor: _Cursor, limit: int) -> ShardBatch:
        records, ahead = cursor.ahead[:limit], cursor.ahead[limit:]
        reached = records[-1].arrival - _CLOCK_DOUBT if ahead else cursor.reached
        caught_up_to = max(cursor.caught_up_to, reached)
        after = records[-1].sequence_number if records else cursor.after
        self._cursors[shard] = cursor._replace(after=after, ahead=ahead, caught_up_to=caught_up_to)
        return ShardBatch(list(records), caught_up_to)

    def _age(self, shard: str, checkpoint: Checkpoint) -> float:
        """Seconds that a consumer is behind; before its first checkpoint, the age of the oldest record."""
        if checkpoint.caught_up_to:
            return max(0.0, (datetime.now(UTC) - checkpoint.caught_up_to).total_seconds())
        with _unavailable_on_aws_error():
            answer = self._reader.get_records(ShardIterator=self._iterator(shard, None), Limit=1)
        if answer["Records"]:
            age: timedelta = datetime.now(UTC) - answer["Records"][0]["ApproximateArrivalTimestamp"]
            return max(0.0, age.total_seconds())
        return float(answer["MillisBehindLatest"]) / 1000


def _put_bytes(record: tuple[str, bytes]) -> int:
    key, data = record
    return len(key.encode()) + len(data)


def _user_records(record: dict[str, Any]) -> Iterator[StreamRecord]:
    number = _padded(record["SequenceNumber"])
    arrival = record["ApproximateArrivalTimestamp"].astimezone(UTC)
    packed = deaggregate(record["Data"])
    if packed is None:
        yield StreamRecord(number, arrival, record["PartitionKey"], record["Data"])
        return
    for place, user_record in enumerate(packed):
        yield StreamRecord(f"{number}-{place:06d}", arrival, *user_record)


def _padded(sequence_number: str) -> str:
    return sequence_number.zfill(_SEQUENCE_DIGITS)


@contextmanager
def _unavailable_on_aws_error() -> Iterator[None]:
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

    try:
        yield
    except (BotoCoreError, ClientError, OSError) as error:
        raise StreamUnavailable(f"the event stream's Kinesis: {error}") from error
