"""How far Firehose has delivered the stream, as its metrics in CloudWatch tell.

Firehose keeps no checkpoint that could be read. What it says each minute is how old the oldest record is that it holds,
for its rows and for its raw copy, and how far it is behind in reading Kinesis. It says nothing while it holds nothing,
and nothing while it is blocked: silence proves delivery only where it is known besides that nothing was left to do.
"""

import logging
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import dagster as dg

from resources.aws.s3.landing import begun_of, is_of_one_hour
from resources.lake import File
from streaming.domain.envelope import MAX_STAMP_DRIFT
from streaming.domain.stack import Stack
from streaming.edges.aws import client
from streaming.edges.event_stream import EVENTS
from streaming.edges.metrics import FiguresMissingError, Metric, read_figures

_log = logging.getLogger(__name__)

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
    "passed": (*_DELIVERY, "SucceedProcessing.Records", "Sum"),
    "row_records": (*_DELIVERY, "DeliveryToS3.Records", "Sum"),
}

Series = Mapping[datetime, float]


class FirehoseMetrics(NamedTuple):
    """Figures by the minute they are of: records, milliseconds behind, ages in seconds. A minute may have none."""

    incoming: Series
    behind: Series
    row_age: Series
    raw_age: Series
    raw_records: Series
    passed: Series  # records that the enrichment made rows of
    row_records: Series


class FirehoseProgress(NamedTuple):
    """How far Firehose is: every record that arrived before `caught_up_to` is in the lake; None when nobody knows.

    `records_come`: some came so lately that traffic goes on, and so long ago that they should have been delivered.
    """

    caught_up_to: datetime | None
    records_come: bool = False

    def has_passed(self, file: File) -> bool:
        """Whether Firehose has delivered all that arrived with what a landing file holds; of its own files, those
        that begin early enough. A file takes what arrives in a quarter of an hour at most, as long as a stamp may be
        off; repairs are whole when they are seen, and of what goes by another name nobody knows."""
        begun = begun_of(file.name)
        if begun is None or self.caught_up_to is None:
            return is_of_one_hour(file.name)
        return begun < self.caught_up_to


def delivered_up_to(metrics: FirehoseMetrics, at: datetime) -> datetime | None:
    """Until when every record that Kinesis took is in the lake, as far as metrics that end at `at` prove it.

    Told by: the age of the oldest record that was held, less the lag of reading. Then `at`, if Firehose reads on and
    holds nothing, and what came since that moment, if anything, is in the raw copy by number. (A row that is missing
    when its hour is sealed is made from the raw copy.)
    """
    rows, raw = (_oldest_held(ages, metrics.behind) for ages in (metrics.row_age, metrics.raw_age))
    reads_on = _reads_on(metrics, at)
    if raw is None:
        return at if rows is None and reads_on and not any(metrics.incoming.values()) else None
    arrived = _both_until(rows, raw, metrics)
    if arrived is None:
        return None
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


def _both_until(rows: _Held | None, raw: _Held, metrics: FirehoseMetrics) -> datetime | None:
    """Until when rows and raw copy are delivered.

    What fails has no row, so while nothing but that comes, only the raw copy tells its age. Then it counts for both, as
    long as every row that the enrichment made is in the lake by number; less the time in which it may be making one.
    """
    silent = max(metrics.row_age, default=raw.minute - SILENCE) <= raw.minute - SILENCE
    made = sum(count for minute, count in metrics.passed.items() if not rows or minute + MINUTE > rows.arrived)
    landed = sum(count for minute, count in metrics.row_records.items() if not rows or minute >= rows.minute)
    if silent and landed >= made:
        return raw.arrived - SILENCE
    return min(rows.arrived, raw.arrived) if rows else None


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
        stream = stack.part(EVENTS)
        self._metrics = {
            id_: Metric(namespace, name, dimension, stream, statistic)
            for id_, (namespace, dimension, name, statistic) in _METRICS.items()
        }
        self._cloudwatch = client("cloudwatch")

    def progress(self) -> FirehoseProgress:
        """How far it is now; nobody knows while CloudWatch does not tell all."""
        try:
            return self.told_progress()
        except FiguresMissingError as error:
            _log.warning("how far delivery is, nobody knows for now: %s", error)
            return FirehoseProgress(None)

    def told_progress(self) -> FirehoseProgress:
        """How far it is now, for whoever must tell what is not known from what is well.

        Raises:
            FiguresMissingError: CloudWatch does not tell all.
        """
        at = datetime.now(UTC).replace(second=0, microsecond=0) - METRICS_DELAY
        metrics = FirehoseMetrics(**read_figures(self._cloudwatch, self._metrics, at - WINDOW, at))
        moment = delivered_up_to(metrics, at)
        # Kinesis took a record up to so much after its stamp, by which the lake has its hours.
        return FirehoseProgress(moment - MAX_STAMP_DRIFT if moment else None, records_come(metrics, at))


class FirehoseDeliveryResource(dg.ConfigurableResource[FirehoseDelivery]):
    """How far the Firehose stream of a stack on AWS is."""

    stack: str

    def create_resource(self, context: dg.InitResourceContext) -> FirehoseDelivery:
        return FirehoseDelivery(Stack(self.stack))
