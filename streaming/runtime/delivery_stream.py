"""The delivery stream: buffers a shard, transforms it, lands it in the lake; what Firehose does on AWS.

Files are durable before the checkpoint moves, so a crash delivers again and never skips. A file is named after its
shard and the sequence range of its flush: the same flush again overwrites its files, another cut of it adds files that
overlap, and those who seal an hour take each record once.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from threading import Event

import msgspec
from prometheus_client import Counter

from streaming.domain.envelope import open_record, raw_line
from streaming.domain.layout import hour_of, hour_prefix
from streaming.domain.tables import Table
from streaming.domain.timestamps import as_utc
from streaming.edges.backoff import until_done
from streaming.edges.error_output import Failure, error_line
from streaming.edges.event_stream import SHARD_END, LeaseLost, ShardBatch, StreamRecord
from streaming.edges.lake import LocalLake, gzip_bytes
from streaming.edges.parquet import arrow_schema, convert, parquet_bytes
from streaming.edges.shard_leases import LeasedStream, ShardLease
from streaming.runtime.transform import Outcome, Transform

DELIVERED = Counter("clickstream_delivery_records", "Records delivered, by result", ["delivery", "result"])
DELIVERED_BYTES = Counter("clickstream_delivery_bytes", "Bytes of the files written", ["delivery"])
DELIVERED_FILES = Counter("clickstream_delivery_files", "Files written", ["delivery"])

CONVERSION_FAILED = "DataFormatConversion.ParseError"

_READ_RECORDS = 500
# A buffer that fills for a minute need not wake for every record.
_POLL_SECONDS = 0.2
_IDLE_CHECKPOINT_SECONDS = 1.0
_TRIM_SECONDS = 5.0


@dataclass(frozen=True)
class DeliveryOptions:
    """What is delivered where. A flush is due at `buffer_bytes` or `buffer_seconds`, whichever comes first.

    `raw_prefix` is the copy of the records as they came, None for no copy; `transform_errors` and `conversion_errors`
    the error prefixes of the two steps; `retention_seconds` how long the stream keeps what is delivered.
    """

    name: str
    table: Table
    buffer_bytes: int
    buffer_seconds: float
    raw_prefix: str | None
    transform_errors: str
    conversion_errors: str
    retention_seconds: float


class DeliveryStream:
    """Delivers the shards of one stream; safe for a thread to each shard. Without a transform, records are rows."""

    def __init__(self, options: DeliveryOptions, lake: LocalLake, transform: Transform | None = None) -> None:
        self._options = options
        self._lake = lake
        self._transform = transform
        self._schema = arrow_schema(options.table)

    def run(self, stream: LeasedStream, lease: ShardLease, stop: Event) -> None:
        """Deliver a shard until `stop` is set or it ends, then what is buffered.

        Raises:
            LeaseLost: another worker has the shard.
            StreamUnavailable: the stream does not answer; nothing is lost, begin again.
            OSError: the lake refused the last buffer, and there was no time left to try again.
        """
        buffer = _Buffer(self._options, lease)
        trimmed = time.monotonic()
        while not stop.is_set() and buffer.caught_up_to != SHARD_END:
            if lease.lost:
                raise LeaseLost(f"{lease.shard}: the lease was not renewed in time")
            page = stream.get_records(lease.shard, buffer.last, _READ_RECORDS, 0 if buffer.records else 1.0)
            buffer.add(page)
            if buffer.due():
                self._flush(lease, buffer, stop)
            elif len(page.records) < _READ_RECORDS and buffer.records:
                stop.wait(_POLL_SECONDS)
            if time.monotonic() - trimmed > _TRIM_SECONDS:
                stream.trim(lease.shard, self._options.retention_seconds)
                trimmed = time.monotonic()
        self._flush(lease, buffer, stop)

    def deliver(self, shard: str, records: Sequence[StreamRecord], stop: Event) -> None:
        """Land records of one shard, in order; when this returns, their files are durable.

        A disk that refuses is tried again until `stop` is set.

        Raises:
            OSError: it still refused then.
        """
        for path, data in self._files(shard, records, stop):
            until_done(partial(self._lake.publish, path, data), stop)
            DELIVERED_FILES.labels(self._options.name).inc()
            DELIVERED_BYTES.labels(self._options.name).inc(len(data))

    def _flush(self, lease: ShardLease, buffer: "_Buffer", stop: Event) -> None:
        if buffer.records:
            self.deliver(lease.shard, buffer.records, stop)
        if buffer.caught_up_to:
            until_done(partial(lease.checkpoint, buffer.last, buffer.caught_up_to), stop)
        buffer.clear()

    def _files(self, shard: str, records: Sequence[StreamRecord], stop: Event) -> list[tuple[str, bytes]]:
        """The files of a flush: each arrival hour's raw copy, rows, and failures."""
        outcomes: list[Outcome] = [record.data for record in records]
        if self._transform:
            outcomes = self._transform.outcomes(shard, records, stop)
        name = f"{shard}-{records[0].sequence_number}-{records[-1].sequence_number}"
        DELIVERED.labels(self._options.name, "dropped").inc(outcomes.count(None))
        hours: dict[datetime, _Hour] = {}
        for record, outcome in zip(records, outcomes, strict=True):
            arrival, raw = self._open(record)
            hour = hour_of(arrival)
            if hour not in hours:
                hours[hour] = _Hour(hour)
            hours[hour].add(record, raw, outcome)
        return [file for hour in hours.values() for file in self._hour_files(hour, name)]

    def _open(self, record: StreamRecord) -> tuple[datetime, bytes]:
        """When the record arrived, and its line in the raw copy."""
        if self._options.raw_prefix:
            envelope = open_record(record.data, record.arrival)
            return envelope.arrival, raw_line(envelope)
        return _row_arrival(record), b""

    def _hour_files(self, hour: "_Hour", name: str) -> list[tuple[str, bytes]]:
        options = self._options
        files = []
        if options.raw_prefix:
            files.append(
                (f"{hour_prefix(options.raw_prefix, hour.hour)}/{name}.json.gz", gzip_bytes(b"".join(hour.raw)))
            )
        rows, rejected = convert([line for _, line in hour.lines], self._schema)
        if rows.num_rows:
            files.append((f"{hour_prefix(options.table.prefix, hour.hour)}/{name}.parquet", parquet_bytes(rows)))
        unconverted = [(hour.lines[p][0], Failure(CONVERSION_FAILED, reason, 1)) for p, reason in rejected]
        for prefix, failures in ((options.transform_errors, hour.failures), (options.conversion_errors, unconverted)):
            if failures:
                arn = self._transform.function.arn if self._transform else ""
                lines = b"".join(error_line(record, failure, arn) for record, failure in failures)
                files.append((f"{hour_prefix(prefix, hour.hour)}/{name}.json.gz", gzip_bytes(lines)))
        DELIVERED.labels(options.name, "delivered").inc(rows.num_rows)
        DELIVERED.labels(options.name, "failed").inc(len(hour.failures) + len(unconverted))
        return files


class _Hour:
    """What a flush has for one hour of arrival."""

    def __init__(self, hour: datetime) -> None:
        self.hour = hour
        self.raw: list[bytes] = []
        self.lines: list[tuple[StreamRecord, bytes]] = []
        self.failures: list[tuple[StreamRecord, Failure]] = []

    def add(self, record: StreamRecord, raw: bytes, outcome: Outcome) -> None:
        self.raw.append(raw)
        if isinstance(outcome, Failure):
            self.failures.append((record, outcome))
        elif outcome is not None:
            self.lines.append((record, outcome))


class _Buffer:
    """The records of a shard that are read and not delivered; `last` is the sequence number of the newest read."""

    def __init__(self, options: DeliveryOptions, lease: ShardLease) -> None:
        self._options = options
        self.last = lease.start.sequence_number
        self.caught_up_to: datetime | None = None
        self.clear()

    def clear(self) -> None:
        self.records: list[StreamRecord] = []
        self._bytes = 0
        self._since = time.monotonic()

    def add(self, page: ShardBatch) -> None:
        if page.records and not self.records:
            self._since = time.monotonic()
        self.records += page.records
        self._bytes += sum(len(record.data) for record in page.records)
        self.caught_up_to = page.caught_up_to
        if page.records:
            self.last = page.records[-1].sequence_number

    def due(self) -> bool:
        """Full, old, or of an hour that has ended; with nothing to deliver, the checkpoint still follows the clock."""
        waited = time.monotonic() - self._since
        if not self.records or self.caught_up_to is None:
            return waited >= _IDLE_CHECKPOINT_SECONDS
        return (
            self._bytes >= self._options.buffer_bytes
            or waited >= self._options.buffer_seconds
            or hour_of(self.caught_up_to) > hour_of(self.records[0].arrival)
        )


class _Row(msgspec.Struct):
    arrival_timestamp: datetime


_decode_row = msgspec.json.Decoder(_Row).decode


def _row_arrival(record: StreamRecord) -> datetime:
    """When a row's own record arrived; for what is no row, when the stream took it."""
    try:
        return as_utc(_decode_row(record.data).arrival_timestamp)
    except (msgspec.MsgspecError, OverflowError):  # no row, or no moment of the calendar in UTC
        return record.arrival
