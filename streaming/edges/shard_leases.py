"""Leases and checkpoints of those who read an event stream: on Redis, one hash a shard and consumer.

    <stream>:<shard>:<consumer> hash {owner, epoch, expires, sequence_number, caught_up_to, lost_records, lost_at},
                                times in ms

The stream itself may be on the same Redis, or be Kinesis.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from streaming.domain.timestamps import milliseconds
from streaming.edges.event_stream import (
    DELIVERY,
    Backlog,
    Checkpoint,
    EventStream,
    Intake,
    LeaseLost,
    StreamUnavailable,
)
from streaming.edges.redis_client import redis_client

_TIMEOUT_SECONDS = 1.5

CLOCK = """
redis.replicate_commands()
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local function integer(number) return string.format('%.0f', number) end
"""

# Redis refuses a script's first write when it is out of memory, unless that write can only free some. Progress must be
# recorded all the same, for progress is what frees the memory: so each of these begins by deleting a field that is not.
_UNLESS_OUT_OF_MEMORY = "redis.call('HDEL', KEYS[1], '')"

# KEYS: state. ARGV: owner, ttl in ms.
_ACQUIRE = (
    CLOCK
    + f"""
local state = redis.call(
  'HMGET', KEYS[1], 'owner', 'expires', 'epoch', 'sequence_number', 'caught_up_to', 'lost_records'
)
if state[1] and state[1] ~= ARGV[1] and tonumber(state[2]) > now then
  return false
end
{_UNLESS_OUT_OF_MEMORY}
local epoch = (tonumber(state[3]) or 0) + 1
redis.call('HSET', KEYS[1], 'owner', ARGV[1], 'epoch', epoch, 'expires', integer(now + ARGV[2]))
return {{epoch, state[4], state[5], state[6]}}
"""
)

# KEYS: state. ARGV: owner, epoch, ttl in ms, then what to set.
_PROGRESS = (
    CLOCK
    + f"""
local state = redis.call('HMGET', KEYS[1], 'owner', 'epoch')
if state[1] ~= ARGV[1] or state[2] ~= ARGV[2] then
  return 0
end
{_UNLESS_OUT_OF_MEMORY}
redis.call('HSET', KEYS[1], 'expires', integer(now + ARGV[3]), unpack(ARGV, 4))
return 1
"""
)


class LeasedStream(EventStream, Protocol):
    """An event stream whose shards the runtime's workers share by leases. All of it raises StreamUnavailable."""

    @property
    def shard_limit(self) -> int | None:
        """How many records of one shard may wait for delivery before it refuses more; None where no number tells."""

    def acquire(self, shard: str, consumer: str, owner: str, ttl_seconds: float) -> "ShardLease | None":
        """Take the lease on a shard, under a new epoch; None while another owner holds it, or the consumer has not
        read its parents to their end."""

    def checkpoints(self, consumer: str = DELIVERY) -> dict[str, Checkpoint]:
        """How far `consumer` is in every shard, by shard."""

    def backlog(self, consumer: str = DELIVERY) -> dict[str, Backlog]:
        """What `consumer` has before it in every shard, by shard."""

    def intake(self, seconds: float) -> dict[str, Intake]:
        """What every shard has taken in, ever and in the last `seconds`; empty where the stream does not count."""

    def trim(self, shard: str, retention_seconds: float) -> int:
        """Forget what delivery is done with and is older than the retention; how many records that were."""

    def undelivered(self) -> int | None:
        """How many records wait for delivery; None where the stream does not count."""

    def close(self) -> None:
        """Close the connections."""


class ShardLeases:
    """The leases and checkpoints of one stream's consumers. Safe to use from many threads."""

    def __init__(self, redis: Redis, stream: str) -> None:
        self.stream = stream
        self._redis = redis
        self._acquire = redis.register_script(_ACQUIRE)
        self._progress = redis.register_script(_PROGRESS)

    def acquire(self, shard: str, consumer: str, owner: str, ttl_seconds: float) -> "ShardLease | None":
        """Take the lease on a shard, under a new epoch; None while another owner holds it.

        Raises:
            StreamUnavailable: the server does not answer.
        """
        ttl = round(ttl_seconds * 1000)
        with unavailable_on_redis_error():
            taken = self._acquire(keys=[self._key(shard, consumer)], args=[owner, ttl])
        if taken is None:
            return None
        epoch, sequence_number, caught_up_to, lost = taken
        start = _checkpoint(sequence_number, caught_up_to)
        return ShardLease(self, shard, consumer, owner, epoch, ttl, start, int(lost or 0))

    def checkpoints(self, shards: Sequence[str], consumer: str) -> dict[str, Checkpoint]:
        """How far `consumer` is in these shards.

        Raises:
            StreamUnavailable: the server does not answer.
        """
        with unavailable_on_redis_error(), self._redis.pipeline(transaction=False) as pipe:
            for shard in shards:
                pipe.hmget(self._key(shard, consumer), "sequence_number", "caught_up_to")
            return {shard: _checkpoint(*state) for shard, state in zip(shards, pipe.execute(), strict=True)}

    def progress(self, lease: "ShardLease", changes: Sequence[str | int]) -> None:
        """Record what `lease` has to record, and prolong it.

        Raises:
            LeaseLost: the shard has another owner or epoch.
            StreamUnavailable: the server does not answer.
        """
        with unavailable_on_redis_error():
            held = self._progress(
                keys=[self._key(lease.shard, lease.consumer)],
                args=[lease.owner, lease.epoch, lease.ttl_milliseconds, *changes],
            )
        if not held:
            raise LeaseLost(f"{self.stream} {lease.shard}: {lease.consumer} has another owner than epoch {lease.epoch}")

    def close(self) -> None:
        """Close the connections."""
        self._redis.close()

    def _key(self, shard: str, consumer: str) -> str:
        return f"{self.stream}:{shard}:{consumer}"


@dataclass(eq=False)
class ShardLease:
    """The right to work on one shard for one consumer, until another owner takes it under a later epoch.

    What a lease writes is refused once its epoch is stale, however late it is tried: a worker that was thought dead
    cannot move a checkpoint. `start` is the checkpoint it began from, `lost_records` what the consumer ever lost.
    """

    leases: ShardLeases
    shard: str
    consumer: str
    owner: str
    epoch: int
    ttl_milliseconds: int
    start: Checkpoint
    lost_records: int
    lost: bool = field(default=False, init=False)

    def renew(self) -> None:
        """Prolong the lease.

        Raises:
            LeaseLost, StreamUnavailable
        """
        self._record()

    def checkpoint(self, sequence_number: str | None, caught_up_to: datetime, lost: int = 0) -> None:
        """Record that everything up to `sequence_number` is done, as is all that arrived before `caught_up_to`.

        `lost` is how many records before it were trimmed before they could be read.

        Raises:
            LeaseLost, StreamUnavailable
        """
        changes: list[str | int] = [
            "sequence_number",
            sequence_number or "",
            "caught_up_to",
            milliseconds(caught_up_to),
        ]
        if lost:
            self.lost_records += lost
            changes += ["lost_records", self.lost_records, "lost_at", milliseconds(datetime.now(UTC))]
        self._record(*changes)

    def release(self) -> None:
        """Give the shard up, so that another owner need not wait for the lease to run out.

        Raises:
            LeaseLost, StreamUnavailable
        """
        self._record("expires", 0)

    def _record(self, *changes: str | int) -> None:
        try:
            self.leases.progress(self, changes)
        except LeaseLost:
            self.lost = True
            raise


def connect(url: str) -> Redis:
    """A client of the stream's Redis that answers soon or fails; it connects when it is first used."""
    return redis_client(
        url,
        protocol=2,
        driver_info=None,
        socket_timeout=_TIMEOUT_SECONDS,
        socket_connect_timeout=_TIMEOUT_SECONDS,
        retry=Retry(NoBackoff(), 0),
    )


@contextmanager
def unavailable_on_redis_error() -> Iterator[None]:
    """Within the block, an error of Redis is raised as StreamUnavailable."""
    try:
        yield
    except RedisError as error:
        raise StreamUnavailable(f"the event stream's Redis: {error}") from error


def moment(milliseconds: int) -> datetime:
    """UTC."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def _checkpoint(sequence_number: bytes | None, caught_up_to: bytes | None) -> Checkpoint:
    return Checkpoint(
        sequence_number.decode() if sequence_number else None, moment(int(caught_up_to)) if caught_up_to else None
    )
