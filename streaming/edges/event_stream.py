"""The event stream as its users see it: put many, list the shards, read a shard from a position.

Redis Streams implement it in the local deployment, Kinesis Data Streams on AWS. Records of one partition key keep
their order, because they share a shard. Sequence numbers of a shard grow, and sort as text.

    StreamUnavailable   the server cannot be reached, or takes nothing now; try again
    LeaseLost           another worker owns the shard; stop working on it
"""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple, Protocol

EVENTS = "events"
HIGH_INTENT = "high_intent"

STREAM_FULL = "StreamFull"
SERVICE_UNAVAILABLE = "ServiceUnavailable"

MAX_PUT_RECORDS = 500


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
    """Records of a shard in order; each one with an arrival before `caught_up_to` is in here or lies before these."""

    records: list[StreamRecord]
    caught_up_to: datetime


class EventStream(Protocol):
    """A sharded, ordered, durable log of records."""

    @property
    def name(self) -> str: ...

    def list_shards(self) -> list[str]:
        """Every shard that has or may get records.

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
