"""The event stream as the tables see it: how far delivery has come."""

from datetime import datetime
from typing import Protocol

import dagster as dg

from streaming.edges.event_stream import EVENTS
from streaming.edges.redis_stream import DELIVERY, RedisEventStream, open_event_stream
from streaming.settings import load_settings


class DeliveryProgress(Protocol):
    """Tells how far delivery to the lake has come."""

    def caught_up_to(self) -> datetime | None:
        """Every record that arrived before this moment is in the lake; None while a shard was never delivered."""


class RedisDeliveryProgress:
    """Reads the checkpoints that delivery keeps beside the stream on Redis.

    Raises:
        StreamUnavailable: Redis does not answer.
    """

    def __init__(self, stream: RedisEventStream) -> None:
        self._stream = stream

    def caught_up_to(self) -> datetime | None:
        moments = [checkpoint.caught_up_to for checkpoint in self._stream.checkpoints(DELIVERY).values()]
        known = [moment for moment in moments if moment is not None]
        return min(known) if len(known) == len(moments) else None


class RedisDeliveryProgressResource(dg.ConfigurableResource[RedisDeliveryProgress]):
    """Delivery's checkpoints on the stream's Redis, whose address may hold a password and so is not configuration."""

    def create_resource(self, context: dg.InitResourceContext) -> RedisDeliveryProgress:
        return RedisDeliveryProgress(open_event_stream(load_settings(), EVENTS))
