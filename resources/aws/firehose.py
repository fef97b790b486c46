"""How far Firehose has delivered the stream, as its metrics in CloudWatch tell.

Firehose keeps no checkpoint that could be read. What it says each minute is how old the oldest record is that it holds,
for its rows and for its raw copy, and how far it is behind in reading Kinesis. It says nothing while it holds nothing,
and nothing while it is blocked: silence proves delivery only where it is known besides that nothing was left to do.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import dagster as dg

from resources.lake import File
from streaming.domain.envelope import MAX_STAMP_DRIFT
from streaming.domain.stack import Stack
from streaming.edges.aws import client
from streaming.edges.event_stream import EVENTS

MINUTE = timedelta(minutes=1)
# CloudWatch may take this long until a minute's figures stand.
METRICS_DELAY = timedelta(minutes=5)
# Longer than Firehose may buffer before it has to say how old its buffer is.
SILENCE = timedelta(minutes=15)
WINDOW = timedelta(hours=24)

_SOURCE, _DELIVERY = ("AWS/Kinesis", "StreamName"), ("AWS/Firehose", "DeliveryStreamName")
_METRICS = {
    "incoming": (*_SOURCE, "IncomingRecords", "Sum"),
    "behind": (*_DELIVERY, "KinesisMillisBehindLatest", "Maximum"),
    "row_age": (*_DELIVERY, "DeliveryToS3.DataFreshness", "Maximum"),
    "raw_age": (*_DELIVERY, "BackupToS3.DataFreshness", "Maximum"),
    "raw_records": (*_DELIVERY, "BackupToS3.Records", "Sum"),
}

# <stream>-<version>-<moment of the oldest record>-<uuid>
_DELIVERED = re.compile(r".+-\d+-(?P<begun>\d{4}(?:-\d\d){5})-[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}.*")

Series = Mapping[datetime, float]


class FirehoseMetrics(NamedTuple):
    """Figures by the minute they are of: records, milliseconds behind, ages in seconds. A minute may have none."""

    incoming: Series
    behind: Series
    row_age: Series
    raw_age: Series
    raw_records: Series


class FirehoseProgress(NamedTuple):
    """How far Firehose is: every record that arrived before `caught_up_to` is in the lake; None when nobody knows.

    `records_come`: some came so lately that traffic goes on, and so long ago that they should have been delivered.
    """

    caught_up_to: datetime | None
    records_come: bool = False

    def has_passed(self, file: File) -> bool:
        """Whether Firehose has delivered all that arrived with what a landing file holds; of its own files, those
        that begin early enough. A file takes what arrives in a quarter of an hour at most, as long as a stamp may be
        off; repairs are whole when they are seen."""
        named = _DELIVERED.fullmatch(file.name)
        if named is None:
            return True
        begun = datetime.strptime(named["begun"], "%Y-%m-%d-%H-%M-%S").replace(tzinfo=UTC)
        return self.caught_up_to is not None and begun < self.caught_up_to


def delivered_up_to(metrics: FirehoseMetrics, at: datetime) -> datetime | None:
    """Until when every record that Kinesis took is in the lake, as far as metrics that end at `at` prove it.

    Told by: the age of the oldest record that was held, less the lag of reading. Then `at`, if Firehose reads on and
    holds nothing, and what came since that moment, if anything, is in the raw copy by number. (A row that is missing
    when its hour is sealed is made from the raw copy.)
    """
    rows, raw = (_oldest_held(ages, metrics.behind) for ages in (metrics.row_age, metrics.raw_age))
    reads_on = _reads_on(metrics, at)
    if rows is None or raw is None:
        return at if rows is raw and reads_on and not any(metrics.incoming.values()) else None
    arrived = min(rows.arrived, raw.arrived)
    came = sum(count for minute, count in metrics.incoming.items() if minute + MINUTE > arrived)
    kept = sum(count for minute, count in metrics.raw_records.items() if minute >= raw.minute)
    return at if reads_on and kept >= came else arrived


class _Held(NamedTuple):
    """What Firehose said in a minute: all that arrived before `arrived` was delivered."""

    arrived: datetime
    minute: datetime


def _oldest_held(ages: Series, behind: Series) -> _Held | None:
    """The most that ages prove: each, less the most that reading lagged since shortly before what is held was read."""
    proofs = []
    for minute, age in ages.items():
        read = minute - timedelta(seconds=age)
        lags = [lag for told, lag in behind.items() if read - SILENCE <= told <= minute]
        if lags:
            proofs.append(_Held(read - timedelta(milliseconds=max(lags)), minute))
    return max(proofs, default=None)


def _reads_on(metrics: FirehoseMetrics, at: datetime) -> bool:
    """Whether for a while nothing came, Firehose held nothing, and yet it read Kinesis, to its tip, to the last."""

    def lately(series: Series) -> list[float]:
        return [value for minute, value in series.items() if minute >= at - SILENCE]

    told_of_late = max(metrics.behind, default=at - WINDOW) >= at - 3 * MINUTE
    disquiet = (metrics.behind, metrics.row_age, metrics.raw_age, metrics.incoming)
    return told_of_late and not any(value for series in disquiet for value in lately(series))


def records_come(metrics: FirehoseMetrics, at: datetime) -> bool:
    """Whether any came in the quarter of an hour before the last one that ends at `at`."""
    return any(count for minute, count in metrics.incoming.items() if at - 2 * SILENCE <= minute < at - SILENCE)


class FirehoseDelivery:
    """Delivery by a stack's Firehose stream `events`.

    Raises:
        botocore.exceptions.ClientError: CloudWatch refuses.
    """

    def __init__(self, stack: Stack) -> None:
        self._stream = stack.part(EVENTS)
        self._cloudwatch = client("cloudwatch")

    def progress(self) -> FirehoseProgress:
        at = datetime.now(UTC).replace(second=0, microsecond=0) - METRICS_DELAY
        metrics = self._metrics(at)
        moment = delivered_up_to(metrics, at)
        # Kinesis took a record up to so much after its stamp, by which the lake has its hours.
        return FirehoseProgress(moment - MAX_STAMP_DRIFT if moment else None, records_come(metrics, at))

    def _metrics(self, at: datetime) -> FirehoseMetrics:
        queries = [
            {"Id": name, "MetricStat": {"Metric": metric, "Period": 60, "Stat": statistic}}
            for name, (metric, statistic) in self._named_metrics().items()
        ]
        found: dict[str, dict[datetime, float]] = {name: {} for name in _METRICS}
        pages = self._cloudwatch.get_paginator("get_metric_data").paginate(
            MetricDataQueries=queries, StartTime=at - WINDOW, EndTime=at
        )
        for page in pages:
            for result in page["MetricDataResults"]:
                minutes = (minute.astimezone(UTC) for minute in result["Timestamps"])
                found[result["Id"]].update(zip(minutes, result["Values"], strict=True))
        return FirehoseMetrics(**found)

    def _named_metrics(self) -> dict[str, tuple[dict[str, Any], str]]:
        return {
            name: (
                {
                    "Namespace": namespace,
                    "MetricName": metric,
                    "Dimensions": [{"Name": dimension, "Value": self._stream}],
                },
                statistic,
            )
            for name, (namespace, dimension, metric, statistic) in _METRICS.items()
        }


class FirehoseDeliveryResource(dg.ConfigurableResource[FirehoseDelivery]):
    """How far the Firehose stream of a stack on AWS is."""

    stack: str

    def create_resource(self, context: dg.InitResourceContext) -> FirehoseDelivery:
        return FirehoseDelivery(Stack(self.stack))
