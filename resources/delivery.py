"""The event stream as the tables see it: how far delivery to the lake has come."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import NamedTuple, Protocol

import dagster as dg

from resources.lake import File
from streaming.edges.event_stream import DELIVERY, EVENTS, SHARD_END, Checkpoint, caught_up
from streaming.edges.shard_leases import LeasedStream
from streaming.edges.streams import open_event_stream
from streaming.settings import load_settings

# Delivery names a file after its shard and the first and last sequence number in it; Redis's tell when these arrived.
_DELIVERED = re.compile(
    r"(?P<shard>shardId-\d+)-"
    r"(?:\d{56}(?:-\d{6})?-(?P<kinesis_last>\d{56}(?:-\d{6})?)"
    r"|\d+-\d+-(?P<redis_last>(?P<milliseconds>\d+)-\d+))\..+"
)


class DeliveryProgress(Protocol):
    """How far delivery is."""

    @property
    def caught_up_to(self) -> datetime | None:
        """Every record that arrived before this moment is in the lake; None while nobody knows of such a moment."""

    def has_passed(self, file: File) -> bool:
        """Whether delivery is done with what a landing file holds: its flush is whole."""


class ShardProgress(NamedTuple):
    """How far the delivery worker is in every shard."""

    checkpoints: Mapping[str, Checkpoint]

    @property
    def caught_up_to(self) -> datetime | None:
        """The least of the shards; None while one of them was never delivered."""
        return caught_up(self.checkpoints.values())

    def has_passed(self, file: File) -> bool:
        """Whether the flush that wrote a landing file is whole.

        Repairs always are, and so is a file of a shard that has ended, that the stream no longer has, or that it has
        begun anew: nobody is writing it.
        """
        named = _DELIVERED.fullmatch(file.name)
        checkpoint = self.checkpoints.get(named["shard"]) if named else None
        if named is None or checkpoint is None or checkpoint.caught_up_to == SHARD_END:
            return True
        last = named["kinesis_last"] or named["redis_last"]
        if last <= (checkpoint.sequence_number or ""):
            return True
        if checkpoint.caught_up_to is None or named["milliseconds"] is None:
            return False
        return datetime.fromtimestamp(int(named["milliseconds"]) / 1000, UTC) < checkpoint.caught_up_to


class Delivery(Protocol):
    """Delivery of the event stream to the lake."""

    def progress(self) -> DeliveryProgress:
        """How far it is now."""


class RedisDelivery:
    """Delivery by the worker, whose checkpoints are on Redis, whatever the stream is on.

    Raises:
        StreamUnavailable: Redis or the stream does not answer.
    """

    def __init__(self, stream: LeasedStream) -> None:
        self._stream = stream

    def progress(self) -> DeliveryProgress:
        return ShardProgress(self._stream.checkpoints(DELIVERY))


class RedisDeliveryResource(dg.ConfigurableResource[RedisDelivery]):
    """The delivery worker's checkpoints; the address of their Redis may hold a password and so is not configuration."""

    def create_resource(self, context: dg.InitResourceContext) -> RedisDelivery:
        return RedisDelivery(open_event_stream(load_settings(), EVENTS))
