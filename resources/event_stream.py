"""The event stream as the tables see it: how far delivery to the lake has come."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import NamedTuple, Protocol

import dagster as dg

from resources.lake import File
from streaming.edges.event_stream import DELIVERY, EVENTS, Checkpoint
from streaming.edges.shard_leases import LeasedStream
from streaming.edges.streams import open_event_stream
from streaming.settings import load_settings

# Delivery names a file after its shard and the first and last sequence number in it, which tell when these arrived.
_DELIVERED = re.compile(r"(?P<shard>shardId-\d+)-\d+-\d+-(?P<last>(?P<milliseconds>\d+)-\d+)\..+")


class DeliveryProgress(NamedTuple):
    """How far delivery is in every shard."""

    checkpoints: Mapping[str, Checkpoint]

    @property
    def caught_up_to(self) -> datetime | None:
        """Every record that arrived before this moment is in the lake; None while a shard was never delivered."""
        moments = [checkpoint.caught_up_to for checkpoint in self.checkpoints.values()]
        known = [moment for moment in moments if moment is not None]
        return min(known) if known and len(known) == len(moments) else None

    def has_passed(self, file: File) -> bool:
        """Whether delivery is done with what a landing file holds: its flush is whole.

        Repairs always are, and so is a file of a shard that the stream no longer has, or has begun anew: nobody is
        writing it.
        """
        named = _DELIVERED.fullmatch(file.name)
        checkpoint = self.checkpoints.get(named["shard"]) if named else None
        if named is None or checkpoint is None or named["last"] <= (checkpoint.sequence_number or ""):
            return True
        arrived = datetime.fromtimestamp(int(named["milliseconds"]) / 1000, UTC)
        return checkpoint.caught_up_to is not None and arrived < checkpoint.caught_up_to


class Delivery(Protocol):
    """Delivery of the event stream to the lake."""

    def progress(self) -> DeliveryProgress:
        """How far it is now."""


class RedisDelivery:
    """Delivery that keeps its checkpoints beside the stream on Redis.

    Raises:
        StreamUnavailable: Redis does not answer.
    """

    def __init__(self, stream: LeasedStream) -> None:
        self._stream = stream

    def progress(self) -> DeliveryProgress:
        return DeliveryProgress(self._stream.checkpoints(DELIVERY))


class RedisDeliveryResource(dg.ConfigurableResource[RedisDelivery]):
    """Delivery's checkpoints on the stream's Redis, whose address may hold a password and so is not configuration."""

    def create_resource(self, context: dg.InitResourceContext) -> RedisDelivery:
        return RedisDelivery(open_event_stream(load_settings(), EVENTS))
