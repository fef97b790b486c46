"""Lambda `scale_shards`: gives the stream of events as many shards as its traffic needs, within the service's limits.

A schedule calls it every minute, which tries again what could not be done. A change at most doubles or halves the
shards, and of ten a day the growing ones must be left: refused writes count once the shards were as many for some
minutes, and shards are taken away only when they were too many for six hours and their number was the same.
So it publishes how many there are: CloudWatch does not know.
"""

import logging
import math
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, NamedTuple

from streaming.domain.stack import METRICS
from streaming.edges.aws import client
from streaming.edges.event_stream import EVENTS
from streaming.edges.metrics import FiguresMissingError, Metric, read_figures
from streaming.settings import Settings, load_settings

__all__ = [
    "CONSUMERS",
    "OPEN_SHARDS",
    "SHARD_BYTES_PER_SECOND",
    "SHARD_RECORDS_PER_SECOND",
    "Load",
    "lambda_handler",
    "scale",
    "target_shards",
]

_log = logging.getLogger(__name__)

OPEN_SHARDS = "OpenShards"
CONSUMERS = 3  # Firehose and two Lambdas share what can be read of a shard of events
# A shard takes a MiB, and lets two be read: what is written faster than all consumers can follow is lost in the end.
SHARD_BYTES_PER_SECOND = min(1, 2 / CONSUMERS) * 1024 * 1024
SHARD_RECORDS_PER_SECOND = 1000
FULL_ABOVE, FULL_AFTERWARDS = 0.75, 0.5
PEAK = timedelta(minutes=5)
IDLE = timedelta(hours=6)
_MINUTE = 60


class Load(NamedTuple):
    """What traffic asked of a stream, in shards that a minute of it would fill."""

    peak: float  # in the last minutes
    idle_peak: float  # in the last hours
    throttled: bool  # writes were refused in the last minutes, in which the number of shards was the same
    steady: bool  # the number of shards was the same in the last hours


def lambda_handler(event: Mapping[str, Any], context: object) -> dict[str, int]:
    """Look at the stream, whatever the call says; answers the shards it has and those it was told to have."""
    settings = load_settings()
    kinesis, cloudwatch = _clients()
    return scale(settings, kinesis, cloudwatch, datetime.now(UTC))


def scale(settings: Settings, kinesis: Any, cloudwatch: Any, now: datetime) -> dict[str, int]:
    """Change the number of shards where their load calls for it. A stream that is changing is left alone."""
    stream = settings.stack.part(EVENTS)
    described = kinesis.describe_stream_summary(StreamName=stream)["StreamDescriptionSummary"]
    shards = described["OpenShardCount"]
    try:
        load = _load(cloudwatch, stream, shards, now)
        target = target_shards(shards, load, settings.min_shards, settings.max_shards)
    except FiguresMissingError as error:
        _log.warning("%s stays at %d shards for now: %s", stream, shards, error)
        target = shards
    _publish(cloudwatch, stream, shards, now)
    if target == shards or described["StreamStatus"] != "ACTIVE":
        return {"shards": shards, "target": shards}
    try:
        kinesis.update_shard_count(StreamName=stream, TargetShardCount=target, ScalingType="UNIFORM_SCALING")
    except (kinesis.exceptions.LimitExceededException, kinesis.exceptions.ResourceInUseException) as error:
        _log.warning("%s stays at %d shards for now: %s", stream, shards, error)
        return {"shards": shards, "target": shards}
    _log.info("%s goes from %d to %d shards", stream, shards, target)
    return {"shards": shards, "target": target}


def target_shards(shards: int, load: Load, least: int, most: int) -> int:
    """How many shards there should be: as many as leave them half full, when they are too full or too many."""
    if load.throttled or load.peak > FULL_ABOVE * shards:
        wanted = max(math.ceil(load.peak / FULL_AFTERWARDS), shards + 1)
    elif load.steady and math.ceil(load.idle_peak / FULL_AFTERWARDS) <= shards / 2:
        wanted = math.ceil(load.idle_peak / FULL_AFTERWARDS)
    else:
        wanted = shards
    bounded = max(least, min(wanted, most))
    return max(math.ceil(shards / 2), min(bounded, 2 * shards))


def _load(cloudwatch: Any, stream: str, shards: int, now: datetime) -> Load:
    names = ("IncomingBytes", "IncomingRecords", "WriteProvisionedThroughputExceeded")
    metrics = {name.lower(): Metric("AWS/Kinesis", name, "StreamName", stream, "Sum") for name in names}
    metrics["shards"] = Metric(METRICS, OPEN_SHARDS, "StreamName", stream, "Maximum")
    sizes, counts, refused, known = read_figures(cloudwatch, metrics, now - IDLE, now).values()
    needed = {
        minute: max(
            sizes.get(minute, 0) / _MINUTE / SHARD_BYTES_PER_SECOND,
            counts.get(minute, 0) / _MINUTE / SHARD_RECORDS_PER_SECOND,
        )
        for minute in sizes.keys() | counts.keys()
    }

    def lately(figures: Mapping[datetime, float]) -> set[float]:
        return {figure for minute, figure in figures.items() if minute >= now - PEAK}

    return Load(
        peak=max(lately(needed), default=0),
        idle_peak=max(needed.values(), default=0),
        throttled=lately(known) == {shards} and any(lately(refused)),
        steady=bool(known) and set(known.values()) == {shards} and min(known) <= now - IDLE + 2 * PEAK,
    )


def _publish(cloudwatch: Any, stream: str, shards: int, now: datetime) -> None:
    datum = {
        "MetricName": OPEN_SHARDS,
        "Dimensions": [{"Name": "StreamName", "Value": stream}],
        "Timestamp": now,
        "Value": shards,
    }
    cloudwatch.put_metric_data(Namespace=METRICS, MetricData=[datum])


@cache
def _clients() -> tuple[Any, Any]:
    # Kinesis says in one way that it is asked too often and that a day has no change left: a schedule tries again.
    return client("kinesis", attempts=2), client("cloudwatch")
