"""The event streams of this deployment: one function that opens them, by the settings."""

from typing import TYPE_CHECKING

from streaming.settings import Settings

if TYPE_CHECKING:  # each deployment loads the clients of its own stream only
    from streaming.edges.shard_leases import LeasedStream


def open_event_stream(settings: Settings, name: str) -> "LeasedStream":
    """The event stream `name` on Redis or Kinesis; connects when it is first used.

    On Kinesis, leases and checkpoints live in the Redis of REDIS_URL; who only puts needs none.
    """
    if settings.stream == "kinesis":
        return _open_kinesis(settings, name)
    from streaming.edges.redis_stream import RedisEventStream  # noqa: PLC0415

    return RedisEventStream(settings.redis_url, name, settings.shards, settings.stream_backlog)


def _open_kinesis(settings: Settings, name: str) -> "LeasedStream":
    from streaming.edges.kinesis_stream import KinesisEventStream  # noqa: PLC0415

    stream = settings.stack.part(name.replace("_", "-"))
    if not settings.redis_url:
        return KinesisEventStream(stream, name)
    from streaming.edges.shard_leases import ShardLeases, connect  # noqa: PLC0415

    return KinesisEventStream(stream, name, ShardLeases(connect(settings.redis_url), stream))
