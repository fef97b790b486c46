"""The event source mapping: reads a shard and invokes a Lambda with batches of it, as Lambda does for Kinesis.

From the oldest record (TRIM_HORIZON), in order, one batch of a shard at a time, at least once. The function reports
partial failures (`ReportBatchItemFailures`): the lowest failed sequence number becomes the checkpoint.
"""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from threading import Event
from typing import Any, NamedTuple

import pybase64
from prometheus_client import Counter

from streaming.domain.batches import batches
from streaming.domain.envelope import open_record
from streaming.domain.layout import failed_prefix, hour_of, hour_prefix
from streaming.edges.backoff import pause_seconds, until_done
from streaming.edges.error_output import Failure, error_line
from streaming.edges.event_stream import SHARD_END, LeaseLost, ShardBatch, StreamRecord
from streaming.edges.lake import LocalLake, gzip_bytes
from streaming.edges.shard_leases import LeasedStream, ShardLease
from streaming.runtime.lambda_host import ACCOUNT, MAX_PAYLOAD_BYTES, REGION, InvocationError, LambdaHost

_log = logging.getLogger(__name__)

PROCESSED = Counter("clickstream_mapping_records", "Records a function is done with", ["function", "result"])

RETRIES_EXHAUSTED = "RetryAttemptsExhausted"
AGE_EXCEEDED = "RecordAgeExceeded"

_READ_RECORDS = 500
_MAX_REQUEST_BYTES = MAX_PAYLOAD_BYTES - 500_000
_FIRST_PAUSE_SECONDS = 0.1
_MAX_PAUSE_SECONDS = 10.0


@dataclass(frozen=True)
class MappingOptions:
    """How a function is fed. A batch goes out at `batch_size` records or after `window_seconds`.

    A record is given up after `max_retries` retries of its own, or at the first failure past `max_age_seconds`.
    With `bisect`, a batch that fails is split, and splitting is not charged to the retries.
    """

    batch_size: int
    window_seconds: float = 0.0
    max_retries: int = 10
    max_age_seconds: float = 3600.0
    bisect: bool = True


class EventSourceMapping:
    """Feeds one function from the shards of one stream; safe for a thread to each shard."""

    def __init__(self, function: LambdaHost, stream: str, lake: LocalLake, options: MappingOptions) -> None:
        self._function = function
        self._arn = f"arn:aws:kinesis:{REGION}:{ACCOUNT}:stream/{stream}"
        self._lake = lake
        self._options = options

    def run(self, stream: LeasedStream, lease: ShardLease, stop: Event) -> None:
        """Feed the function from a shard until `stop` is set or the shard ends.

        Raises:
            LeaseLost: another worker has the shard.
            StreamUnavailable: the stream does not answer; nothing is lost, begin again.
        """
        last = lease.start.sequence_number
        while not stop.is_set():
            if lease.lost:
                raise LeaseLost(f"{lease.shard}: the lease was not renewed in time")
            page = self._read(stream, lease.shard, last, stop)
            done = self.process(lease.shard, page.records, stop)
            lost = page.lost if done else 0
            if done:
                last = page.records[done - 1].sequence_number
            if lost:
                _log.error("%s %s: %d records were trimmed unread", self._function.name, lease.shard, lost)
            if done == len(page.records):
                lease.checkpoint(last, page.caught_up_to, lost)
            elif done:
                lease.checkpoint(last, page.records[done - 1].arrival, lost)
            if page.caught_up_to == SHARD_END:
                break

    def process(self, shard: str, records: Sequence[StreamRecord], stop: Event) -> int:
        """Bring records to an end: processed, or kept in the failure destination.

        Returns:
            How many of them, from the first, are done; all, unless `stop` was set.
        """
        done = 0
        for batch in batches(records, _request_bytes, _MAX_REQUEST_BYTES, self._options.batch_size):
            done += self._process_batch(shard, batch, stop)
            if stop.is_set():
                break
        return done

    def _read(self, stream: LeasedStream, shard: str, after: str | None, stop: Event) -> ShardBatch:
        page = stream.get_records(shard, after, _READ_RECORDS, 1.0)
        deadline = time.monotonic() + self._options.window_seconds
        while 0 < len(page.records) < self._options.batch_size and page.caught_up_to < SHARD_END and not stop.is_set():
            left = deadline - time.monotonic()
            if left <= 0:
                break
            more = stream.get_records(shard, page.records[-1].sequence_number, _READ_RECORDS, left)
            page = ShardBatch(page.records + more.records, more.caught_up_to, page.lost + more.lost)
        return page

    def _process_batch(self, shard: str, batch: list[StreamRecord], stop: Event) -> int:
        """Work through a batch from left to right; how many of its records, from the first, are done."""
        spans = [_Span(0, len(batch), 0)]
        while spans:
            span = spans.pop()
            if stop.is_set():
                return span.start
            records = batch[span.start : span.end]
            failure = self._invoke(shard, records)
            if failure is None:
                PROCESSED.labels(self._function.name, "processed").inc(len(records))
            elif parts := self._split(span, failure):
                PROCESSED.labels(self._function.name, "processed").inc(failure.position or 0)
                spans += reversed(parts)
            elif code := self._given_up(span, records):
                self._keep(shard, records, Failure(code, failure.message, span.retries + 1), stop)
            else:
                stop.wait(pause_seconds(span.retries, _FIRST_PAUSE_SECONDS, _MAX_PAUSE_SECONDS))
                spans.append(span._replace(retries=span.retries + 1))
        return len(batch)

    def _invoke(self, shard: str, records: list[StreamRecord]) -> "_BatchFailure | None":
        event = {"Records": [self._entry(shard, record) for record in records]}
        try:
            failure = _reported(self._function.invoke(event), records)
        except InvocationError as error:
            failure = _BatchFailure(str(error), None)
        if failure:
            _log.warning("%s %s, %d records: %s", self._function.name, shard, len(records), failure.message)
        return failure

    def _split(self, span: "_Span", failure: "_BatchFailure") -> "list[_Span]":
        """What is left of a failed batch to try at once, without a charge; empty when only a retry is left.

        What lies before a reported failure is done. A failure reported for the first record takes that one out of
        the batch; an error that names none halves it.
        """
        if failure.position:
            return [span._replace(start=span.start + failure.position)]
        size = span.end - span.start
        if not self._options.bisect or size == 1:
            return []
        middle = span.start + (size // 2 if failure.position is None else 1)
        return [span._replace(end=middle), span._replace(start=middle)]

    def _given_up(self, span: "_Span", records: list[StreamRecord]) -> str | None:
        """Why records are tried no more, as Lambda names it."""
        if span.retries >= self._options.max_retries:
            return RETRIES_EXHAUSTED
        age = datetime.now(UTC) - records[0].arrival
        return AGE_EXCEEDED if age.total_seconds() > self._options.max_age_seconds else None

    def _keep(self, shard: str, records: list[StreamRecord], failure: Failure, stop: Event) -> None:
        """Write records to the failure destination, under the hours they arrived in."""
        name = f"{shard}-{records[0].sequence_number}-{records[-1].sequence_number}.json.gz"
        lines: dict[datetime, list[bytes]] = {}
        for record in records:
            hour = hour_of(open_record(record.data, record.arrival).arrival)
            lines.setdefault(hour, []).append(error_line(record, failure, self._function.arn))
        for hour, found in lines.items():
            path = f"{hour_prefix(failed_prefix(self._function.name), hour)}/{name}"
            data = gzip_bytes(b"".join(found))
            until_done(partial(self._lake.publish, path, data), stop)
        PROCESSED.labels(self._function.name, "failed").inc(len(records))

    def _entry(self, shard: str, record: StreamRecord) -> dict[str, Any]:
        return {
            "kinesis": {
                "kinesisSchemaVersion": "1.0",
                "partitionKey": record.partition_key,
                "sequenceNumber": record.sequence_number,
                "data": pybase64.b64encode_as_string(record.data),
                "approximateArrivalTimestamp": record.arrival.timestamp(),
            },
            "eventSource": "aws:kinesis",
            "eventVersion": "1.0",
            "eventID": f"{shard}:{record.sequence_number}",
            "eventName": "aws:kinesis:record",
            "invokeIdentityArn": f"arn:aws:iam::{ACCOUNT}:role/{self._function.name}",
            "awsRegion": REGION,
            "eventSourceARN": self._arn,
        }


class _Span(NamedTuple):
    """A part of a batch that is not done, and how often it was tried again as it is."""

    start: int
    end: int
    retries: int


class _BatchFailure(NamedTuple):
    """`position` is the first record that was reported; None when the batch as a whole failed."""

    message: str
    position: int | None


def _reported(answer: Any, records: list[StreamRecord]) -> _BatchFailure | None:
    """What an answer says of its batch: None or nothing reported is success, what cannot be understood fails it all."""
    if not answer:
        return None if answer in (None, {}) else _BatchFailure(f"{answer!r} is no answer", None)
    try:
        items = answer.get("batchItemFailures") or []
        reported = {item["itemIdentifier"] for item in items}
    except (AttributeError, TypeError, KeyError) as error:
        return _BatchFailure(f"an answer that is not understood: {error!r}", None)
    if not reported:
        return None
    positions = {record.sequence_number: position for position, record in enumerate(records)}
    if unknown := reported - positions.keys():
        return _BatchFailure(f"{len(unknown)} reported identifiers are not in the batch", None)
    return _BatchFailure("reported as failed", min(positions[identifier] for identifier in reported))


def _request_bytes(record: StreamRecord) -> int:
    """What a record takes in the event, with its data in base64 and its key escaped at worst."""
    return len(record.data) * 4 // 3 + 6 * len(record.partition_key) + 600
