"""The event stream as its users see it: put many, list the shards, read a shard from a position.

Redis Streams implement it in the local deployment, Kinesis Data Streams on AWS. Records of one partition key keep
their order as far as the service does, because they share a shard: Redis always, Kinesis between the records of two
puts and not within one. Sequence numbers of a shard grow, and sort as text.

A shard may end: when Kinesis splits it or merges it with another, its children go on where it was. Its last batch is
caught up to SHARD_END.

    StreamUnavailable   the server cannot be reached, or takes nothing now; try again
    LeaseLost           another worker owns the shard; stop working on it
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import NamedTuple, Protocol

EVENTS = "events"
HIGH_INTENT = "high_intent"

DELIVERY = "delivery"

STREAM_FULL = "StreamFull"
SERVICE_UNAVAILABLE = "ServiceUnavailable"

MAX_PUT_RECORDS = 500

SHARD_END = datetime(9999, 12, 31, tzinfo=UTC)


class StreamUnavailable(Exception):  # noqa: N818
    """The stream's server cannot be reached, or cannot answer now."""


class LeaseLost(Exception):  # noqa: N818
    """The lease on a shard has passed to another owner: what this one does no longer counts."""


class StreamRecord(NamedTuple):
    """One record of a shard; `arrival` is when the stream took it, UTC."""

    sequence_number: str
    arrival: datetime
    partition_key: str
    data: bytes


class PutResult(NamedTuple):
    """What became of one record: exactly one of the two is set."""

    sequence_number: str | None
    error_code: str | None


class ShardBatch(NamedTuple):
    """Records of a shard in order; each one with an arrival before `caught_up_to` is in here or lies before these.

    `lost` is how many records before these the stream forgot unread, as far as it can tell.
    """

    records: list[StreamRecord]
    caught_up_to: datetime
    lost: int = 0


class Checkpoint(NamedTuple):
    """How far a consumer is in a shard: each record that arrived before `caught_up_to` is done. None: nothing yet."""

    sequence_number: str | None
    caught_up_to: datetime | None


def caught_up(checkpoints: Iterable[Checkpoint]) -> datetime | None:
    """How far a consumer is in a whole stream: the least of its shards; None while one was never read, or is none."""
    moments = [checkpoint.caught_up_to for checkpoint in checkpoints]
    known = [moment for moment in moments if moment is not None]
    return min(known) if known and len(known) == len(moments) else None


class Backlog(NamedTuple):
    """What a consumer has before it in a shard: records (None: the stream does not count), the age of the oldest in
    seconds, and how many of them are no longer on the stream (only consumers other than delivery can lose any; they
    are repaired from raw).

    `lost_records` are those it has passed over so far because they were no longer there, `lost_at` is when it last did.
    """

    records: int | None
    oldest_age_seconds: float
    trimmed_unread: int
    lost_records: int
    lost_at: datetime | None


class Intake(NamedTuple):
    """What a shard has taken in: records ever, and of late."""

    records: int
    recent_records: int


class EventStream(Protocol):
    """A sharded, ordered, durable log of records."""

    @property
    def name(self) -> str: ...

    def list_shards(self) -> list[str]:
        """Every shard that has or may get records, parents before their children.

        Raises:
            StreamUnavailable: the server does not answer.
        """

    def put_records(self, records: Sequence[tuple[str, bytes]]) -> list[PutResult]:
        """Append at most MAX_PUT_RECORDS pairs of partition key and data; one result for each, in their order.

        Never raises for the server: a record that it did not acknowledge has an error code, and may be on the stream
        all the same.

        Raises:
            ValueError: too many records for one put.
        """

    def get_records(self, shard: str, after: str | None, limit: int, wait_seconds: float) -> ShardBatch:
        """The records behind `after` (None: from the oldest kept); waits, at most a second, while there are none.

        Raises:
            StreamUnavailable: the server does not answer.
        """
