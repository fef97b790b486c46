"""The event stream on Redis Streams: one stream key a shard, beside the leases and checkpoints of its consumers.

    <name>:shards             set of the shards that ever got a record
    <name>:<shard>            the stream; entry id `<ms>-<ordinal>`
    <name>:<shard>:<consumer> the consumer's lease and checkpoint, see `shard_leases`

An ordinal counts the records of its shard and never starts again (Redis keeps a stream's last id when it is trimmed
to nothing), so the difference of two is a number of records. The ms of an id is the server's clock, never behind an
earlier id, and never behind what delivery has declared itself caught up to: a clock that steps back cannot slip
records into an hour that is sealed.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from hashlib import md5
from itertools import chain
from typing import Any

from redis.exceptions import NoScriptError, RedisError

from streaming.edges.event_stream import (
    DELIVERY,
    MAX_PUT_RECORDS,
    SERVICE_UNAVAILABLE,
    STREAM_FULL,
    Backlog,
    Checkpoint,
    Intake,
    PutResult,
    ShardBatch,
    StreamRecord,
)
from streaming.edges.shard_leases import (
    CLOCK,
    ShardLease,
    ShardLeases,
    connect,
    moment,
    unavailable_on_redis_error,
)
from streaming.settings import SettingError

_MAX_WAIT_SECONDS = 1.0
_MAX_READ_BYTES = 4_000_000
_LARGE_RECORD_BYTES = 65_536
# Above this share of maxmemory, what is delivered is trimmed without regard to the retention.
_MEMORY_PRESSURE = 0.7

# KEYS: stream, delivery's state, set of shards. ARGV: shard, most undelivered records, then key and data of each.
# A batch goes in whole or not at all: what is refused is sent again, and half of it would come twice.
_PUT = (
    CLOCK
    + """
local ordinal = 0
if redis.call('EXISTS', KEYS[1]) == 1 then
  local info = redis.call('XINFO', 'STREAM', KEYS[1])
  for i = 1, #info, 2 do
    if info[i] == 'last-generated-id' then
      local ms, last = string.match(info[i + 1], '(%d+)-(%d+)')
      now = math.max(now, tonumber(ms))
      ordinal = tonumber(last)
    end
  end
end
local delivery = redis.call('HMGET', KEYS[2], 'sequence_number', 'caught_up_to')
now = math.max(now, tonumber(delivery[2]) or 0)
local undelivered = ordinal - (tonumber(string.match(delivery[1] or '', '-(%d+)')) or 0)
local count = (#ARGV - 2) / 2
if undelivered > 0 and undelivered + count > tonumber(ARGV[2]) then
  return false
end
redis.call('SADD', KEYS[3], ARGV[1])
for i = 1, count do
  redis.call('XADD', KEYS[1], integer(now) .. '-' .. integer(ordinal + i), 'k', ARGV[2 * i + 1], 'd', ARGV[2 * i + 2])
end
return {integer(now), ordinal + 1}
"""
)


def verify_stream_server(url: str) -> None:
    """Refuse a Redis that could lose acknowledged records.

    Raises:
        SettingError: it is too old, keeps no append-only file, or evicts keys.
        StreamUnavailable: it does not answer.
    """
    with connect(url) as redis, unavailable_on_redis_error():
        info: dict[str, Any] = redis.info("everything")
    if tuple(int(part) for part in str(info["redis_version"]).split(".")[:2]) < (6, 2):
        raise SettingError(f"REDIS_URL: the event stream needs Redis 6.2 or later, this is {info['redis_version']}")
    if not info["aof_enabled"]:
        raise SettingError(
            "REDIS_URL: the event stream needs an append-only file; start this Redis with appendonly yes"
        )
    if info["maxmemory_policy"] != "noeviction":
        raise SettingError(
            f"REDIS_URL: the event stream must not evict; this Redis has maxmemory-policy {info['maxmemory_policy']}, "
            "set it to noeviction"
        )


class RedisEventStream:
    """A `LeasedStream`, with the trimming that Kinesis does by itself.

    `backlog` is the most records that may wait for delivery; each shard takes an equal share of it.
    Safe to use from many threads.
    """

    def __init__(self, url: str, name: str, shards: int, backlog: int) -> None:
        self.name = name
        self._shards = [f"shardId-{index:012d}" for index in range(shards)]
        self._share = -(-backlog // shards)
        self._largest: dict[str, int] = {}
        self._redis = connect(url)
        self._leases = ShardLeases(self._redis, name)
        self._redis.set_response_callback("XRANGE", _entries)
        self._put = self._redis.register_script(_PUT)

    @property
    def shard_limit(self) -> int:
        return self._share

    def list_shards(self) -> list[str]:
        """The shards that puts go to, and those of an earlier number of shards that may still hold records."""
        with unavailable_on_redis_error():
            known: Any = self._redis.smembers(self._key("shards"))
        return sorted({*self._shards, *(shard.decode() for shard in known)})

    def shard_of(self, partition_key: str) -> str:
        """The shard of a key, as Kinesis maps keys: the shards divide the range of MD5 evenly."""
        digest = md5(partition_key.encode(), usedforsecurity=False).digest()
        return self._shards[int.from_bytes(digest) * len(self._shards) >> 128]

    def put_records(self, records: Sequence[tuple[str, bytes]]) -> list[PutResult]:
        if len(records) > MAX_PUT_RECORDS:
            raise ValueError(f"{len(records)} records in one put; at most {MAX_PUT_RECORDS}")
        by_shard: dict[str, list[int]] = {}
        for index, (key, _) in enumerate(records):
            by_shard.setdefault(self.shard_of(key), []).append(index)
        replies = self._put_shards({shard: [records[i] for i in indexes] for shard, indexes in by_shard.items()})
        results: list[PutResult] = [PutResult(None, SERVICE_UNAVAILABLE)] * len(records)
        for indexes, reply in zip(by_shard.values(), replies, strict=True):
            for position, index in enumerate(indexes):
                results[index] = _put_result(reply, position)
        return results

    def get_records(self, shard: str, after: str | None, limit: int, wait_seconds: float = 0) -> ShardBatch:
        with unavailable_on_redis_error():
            batch = self._read(shard, after, limit)
            if not batch.records and wait_seconds > 0:
                block = max(1, round(min(wait_seconds, _MAX_WAIT_SECONDS) * 1000))
                self._redis.xread({self._key(shard): after or "0"}, count=1, block=block)
                batch = self._read(shard, after, limit)
        return batch

    def acquire(self, shard: str, consumer: str, owner: str, ttl_seconds: float) -> ShardLease | None:
        return self._leases.acquire(shard, consumer, owner, ttl_seconds)

    def checkpoints(self, consumer: str = DELIVERY) -> dict[str, Checkpoint]:
        return self._leases.checkpoints(self.list_shards(), consumer)

    def undelivered(self) -> int:
        return sum(before.records or 0 for before in self.backlog().values())

    def backlog(self, consumer: str = DELIVERY) -> dict[str, Backlog]:
        """What `consumer` has before it in every shard, by shard.

        Raises:
            StreamUnavailable: the server does not answer.
        """
        checkpoints = self.checkpoints(consumer)
        with unavailable_on_redis_error(), self._redis.pipeline(transaction=False) as pipe:
            for shard, checkpoint in checkpoints.items():
                pipe.time()
                pipe.xinfo_stream(self._key(shard))
                pipe.xrange(self._key(shard), _behind(checkpoint.sequence_number), count=1)
                pipe.hmget(self._key(shard, consumer), "lost_records", "lost_at")
            replies = pipe.execute(raise_on_error=False)  # a shard that never got a record has no stream to ask about
        return {
            shard: _backlog(checkpoint.sequence_number, *replies[4 * i : 4 * i + 4])
            for i, (shard, checkpoint) in enumerate(checkpoints.items())
        }

    def intake(self, seconds: float) -> dict[str, Intake]:
        """What every shard has taken in, ever and in the last `seconds` as far as it is not trimmed, by shard.

        Raises:
            StreamUnavailable: the server does not answer.
        """
        shards = self.list_shards()
        with unavailable_on_redis_error(), self._redis.pipeline(transaction=False) as pipe:
            now, microseconds = self._redis.time()
            since = round((now + microseconds / 1_000_000 - seconds) * 1000)
            for shard in shards:
                pipe.xinfo_stream(self._key(shard))
                pipe.xrange(self._key(shard), str(since), count=1)
            replies = pipe.execute(raise_on_error=False)
        return {shard: _intake(*replies[2 * i : 2 * i + 2]) for i, shard in enumerate(shards)}

    def trim(self, shard: str, retention_seconds: float) -> int:
        """Forget what delivery is done with and is older than the retention; how many records that were.

        The retention yields when memory runs short, and to the bound on the stream's length: what is delivered never
        keeps new records out.

        Raises:
            StreamUnavailable: the server does not answer.
        """
        with unavailable_on_redis_error():
            delivered: Any = self._redis.hget(self._key(shard, DELIVERY), "sequence_number")
            if not delivered:
                return 0
            milliseconds, _, ordinal = delivered.decode().partition("-")
            undelivered = kept = _sequence_number(int(milliseconds), int(ordinal) + 1)
            if not self._short_of_memory():
                seconds: int = self._redis.time()[0]
                kept = min(kept, _sequence_number(max(0, round((seconds - retention_seconds) * 1000)), 0))
            key = self._key(shard)
            trimmed: int = self._redis.xtrim(key, minid=kept, approximate=False)
            # Not by MAXLEN: another process may have had a larger bound, and more may be undelivered than ours allows.
            excess: int = self._redis.xlen(key) - 2 * max(self._share, MAX_PUT_RECORDS)
            if excess > 0:
                trimmed += self._redis.xtrim(key, minid=undelivered, limit=excess)
        return trimmed

    def close(self) -> None:
        self._redis.close()

    def _key(self, *parts: str) -> str:
        return ":".join((self.name, *parts))

    def _put_shards(self, by_shard: dict[str, list[tuple[str, bytes]]]) -> list[Any]:
        """One reply or RedisError for each shard."""
        with self._redis.pipeline(transaction=False) as pipe:
            for shard, records in by_shard.items():
                keys = (self._key(shard), self._key(shard, DELIVERY), self._key("shards"))
                pairs: Any = chain.from_iterable(records)
                pipe.evalsha(self._put.sha, len(keys), *keys, shard, self._share, *pairs)
            commands = list(pipe.command_stack)
            try:
                replies = pipe.execute(raise_on_error=False)
                if any(isinstance(reply, NoScriptError) for reply in replies):
                    self._redis.script_load(_PUT)
                    pipe.command_stack = commands
                    replies = pipe.execute(raise_on_error=False)
            except RedisError as error:
                return [error] * len(by_shard)
        return replies

    def _read(self, shard: str, after: str | None, limit: int) -> ShardBatch:
        # Redis can only bound a read by records; the bytes are bounded by the largest record of the read before.
        limit = max(1, min(limit, _MAX_READ_BYTES // self._largest.get(shard, _LARGE_RECORD_BYTES)))
        # The clock before the records: what arrives between the two has a later arrival.
        with self._redis.pipeline(transaction=False) as pipe:
            pipe.time()
            pipe.xrange(self._key(shard), _behind(after), count=limit)
            (seconds, microseconds), records = pipe.execute()
        if records:
            self._largest[shard] = max(1, *(len(record.data) for record in records))
        lost = _ordinal(records[0].sequence_number) - _ordinal(after) - 1 if records else 0
        if len(records) == limit:
            return ShardBatch(records, records[-1].arrival, lost)
        return ShardBatch(records, moment(seconds * 1000 + microseconds // 1000), lost)

    def _short_of_memory(self) -> bool:
        memory: dict[str, Any] = self._redis.info("memory")
        return bool(0 < memory["maxmemory"] * _MEMORY_PRESSURE < memory["used_memory"])


def _behind(sequence_number: str | None) -> str:
    return f"({sequence_number}" if sequence_number else "-"


def _sequence_number(milliseconds: int, ordinal: int) -> str:
    return f"{milliseconds:013d}-{ordinal:012d}"


def _ordinal(sequence_number: str | None) -> int:
    return int(sequence_number.partition("-")[2]) if sequence_number else 0


def _entries(reply: list[Any], **_: object) -> list[StreamRecord]:
    records = []
    for entry_id, (_, key, _, data) in reply:
        milliseconds, _, ordinal = entry_id.partition(b"-")
        milliseconds = int(milliseconds)
        records.append(
            StreamRecord(
                _sequence_number(milliseconds, int(ordinal)),
                datetime.fromtimestamp(milliseconds / 1000, UTC),
                key.decode(errors="replace"),
                data,
            )
        )
    return records


def _put_result(reply: Any, position: int) -> PutResult:
    if isinstance(reply, RedisError):
        return PutResult(None, SERVICE_UNAVAILABLE)
    if reply is None:
        return PutResult(None, STREAM_FULL)
    milliseconds, first = reply
    return PutResult(_sequence_number(int(milliseconds), first + position), None)


def _backlog(after: str | None, time: Any, stream: Any, oldest: Any, lost: Any) -> Backlog:
    if isinstance(stream, RedisError):
        return Backlog(0, 0.0, 0, 0, None)
    lost_records, lost_at = int(lost[0] or 0), moment(int(lost[1])) if lost[1] else None
    records = _last_ordinal(stream) - _ordinal(after)
    if not oldest:
        return Backlog(records, 0.0, records, lost_records, lost_at)
    seconds, microseconds = time
    age = seconds + microseconds / 1e6 - oldest[0].arrival.timestamp()
    unread = _ordinal(oldest[0].sequence_number) - _ordinal(after) - 1
    return Backlog(records, max(0.0, age), unread, lost_records, lost_at)


def _intake(stream: Any, oldest: Any) -> Intake:
    if isinstance(stream, RedisError):
        return Intake(0, 0)
    last = _last_ordinal(stream)
    return Intake(last, last - _ordinal(oldest[0].sequence_number) + 1 if oldest else 0)


def _last_ordinal(stream: Mapping[str, Any]) -> int:
    return int(stream["last-generated-id"].partition(b"-")[2])
