"""Landing files on S3 as Firehose writes them, of records that a stream took.

A flush makes one object each of the raw copy, the rows and the failures, all in the folder of its oldest record, so a
file may hold rows of the next hour. The raw copy is gzip, and what comes of the conversion to Parquet is not: failures
lie plain.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from threading import Event
from uuid import uuid4

import boto3

from streaming.domain.layout import hour_of, hour_prefix
from streaming.domain.tables import ENRICHED_LANDING, RAW_EVENTS
from streaming.edges.error_output import Failure, error_line
from streaming.edges.event_stream import StreamRecord
from streaming.edges.lake import gzip_bytes
from streaming.edges.parquet import arrow_schema, convert, parquet_bytes
from streaming.runtime.transform import Transform
from tests.s3_lakes import date_object

PROCESSING_FAILED = "failed/processing-failed"


class Firehose:
    """Delivery of `clickstream-events` to a bucket."""

    def __init__(self, bucket: str, transform: Transform) -> None:
        self._bucket = bucket
        self._transform = transform
        self._s3 = boto3.client("s3")

    def deliver(self, records: Sequence[StreamRecord], behind: timedelta = timedelta(0)) -> list[str]:
        """One flush of records, oldest first; returns the keys of what it wrote.

        Args:
            behind: how much later than Kinesis it got them, and named its files.
        """
        outcomes = list(zip(records, self._transform.outcomes("shardId-000000000000", records, Event()), strict=True))
        lines = [outcome for _, outcome in outcomes if isinstance(outcome, bytes)]
        failures = [(record, outcome) for record, outcome in outcomes if isinstance(outcome, Failure)]
        contents = [(RAW_EVENTS.prefix, gzip_bytes(b"".join(record.data for record in records)), ".gz")]
        if lines:
            rows = convert(lines, arrow_schema(ENRICHED_LANDING)).rows
            contents.append((ENRICHED_LANDING.prefix, parquet_bytes(rows), ".parquet"))
        if failures:
            errors = b"".join(error_line(record, failure, "arn:aws:lambda") for record, failure in failures)
            contents.append((PROCESSING_FAILED, errors, ""))
        hour, got = hour_of(records[0].arrival), (records[0].arrival + behind, records[-1].arrival + behind)
        return [self._put(hour_prefix(prefix, hour), got, data, suffix) for prefix, data, suffix in contents]

    def _put(self, folder: str, got: tuple[datetime, datetime], data: bytes, suffix: str) -> str:
        """Store what it got between two moments as of a minute later."""
        begun, ended = got
        key = f"{folder}/clickstream-events-1-{begun:%Y-%m-%d-%H-%M-%S}-{uuid4()}{suffix}"
        self._s3.put_object(Bucket=self._bucket, Key=key, Body=data)
        date_object(key, ended + timedelta(minutes=1))
        return key
