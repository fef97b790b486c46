"""The transform of a delivery stream: records in, through a Lambda, lines out; no record is ever unaccounted for."""

import logging
from collections import Counter
from collections.abc import Sequence
from threading import Event
from typing import Any
from uuid import uuid4

import pybase64

from streaming.domain.batches import batches
from streaming.domain.timestamps import milliseconds
from streaming.edges.backoff import pause_seconds
from streaming.edges.error_output import Failure
from streaming.edges.event_stream import StreamRecord
from streaming.runtime.lambda_host import ACCOUNT, REGION, InvocationError, LambdaHost

_log = logging.getLogger(__name__)

MAX_RETRIES = 3
_FIRST_PAUSE_SECONDS = 0.1
_MAX_PAUSE_SECONDS = 2.0


Outcome = bytes | Failure | None  # None: the function dropped it


class MalformedAnswerError(InvocationError):
    """The answer is not the shape of a transform's answer."""

    code = "Lambda.JsonProcessingException"


class Transform:
    """Calls a function with Firehose's transform event, at most `request_bytes` of it at a time."""

    def __init__(self, function: LambdaHost, delivery_stream: str, request_bytes: int) -> None:
        self.function = function
        self._arn = f"arn:aws:firehose:{REGION}:{ACCOUNT}:deliverystream/{delivery_stream}"
        self._source_arn = f"arn:aws:kinesis:{REGION}:{ACCOUNT}:stream/{delivery_stream}"
        self._request_bytes = request_bytes

    def outcomes(self, shard: str, records: Sequence[StreamRecord], stop: Event) -> list[Outcome]:
        """What became of each record, in order. An invocation that fails is tried again; `stop` ends the pauses."""
        found: list[Outcome] = []
        for batch in batches((_entry(shard, record) for record in records), _entry_bytes, self._request_bytes):
            found += self._invoke(batch, stop)
        return found

    def _invoke(self, batch: list[dict[str, Any]], stop: Event) -> list[Outcome]:
        event = {
            "invocationId": str(uuid4()),
            "deliveryStreamArn": self._arn,
            "sourceKinesisStreamArn": self._source_arn,
            "region": REGION,
            "records": batch,
        }
        for retry in range(MAX_RETRIES + 1):
            if retry:
                stop.wait(pause_seconds(retry, _FIRST_PAUSE_SECONDS, _MAX_PAUSE_SECONDS))
            try:
                return _outcomes(batch, self.function.invoke(event), retry + 1)
            except InvocationError as error:
                failure = Failure(error.code, str(error), retry + 1)
                _log.warning("attempt %d at %d records: %s", retry + 1, len(batch), error)
        return [failure] * len(batch)


# What an entry is made of apart from its data and partition key.
_ENTRY_BYTES = 280


def _entry(shard: str, record: StreamRecord) -> dict[str, Any]:
    arrival = milliseconds(record.arrival)
    return {
        "recordId": record.sequence_number,
        "approximateArrivalTimestamp": arrival,
        "data": pybase64.b64encode_as_string(record.data),
        "kinesisRecordMetadata": {
            "sequenceNumber": record.sequence_number,
            "subsequenceNumber": 0,
            "partitionKey": record.partition_key,
            "shardId": shard,
            "approximateArrivalTimestamp": arrival,
        },
    }


def _entry_bytes(entry: dict[str, Any]) -> int:
    key = entry["kinesisRecordMetadata"]["partitionKey"]
    return len(entry["data"]) + _ENTRY_BYTES + 6 * len(key)  # escaped, at worst


def _outcomes(batch: list[dict[str, Any]], answer: Any, attempt: int) -> list[Outcome]:
    """Each record's outcome by the answer's rows.

    Raises:
        MalformedAnswerError: there are no rows to read.
    """
    try:
        rows = {row["recordId"]: row for row in answer["records"]}
        times = Counter(row["recordId"] for row in answer["records"])
    except (TypeError, KeyError) as error:
        raise MalformedAnswerError(f"an answer without records that have ids: {error!r}") from None
    if unknown := len(rows.keys() - {entry["recordId"] for entry in batch}):
        _log.warning("%d ids in an answer that were not asked for", unknown)
    return [_outcome(rows.get(entry["recordId"]), times[entry["recordId"]], attempt) for entry in batch]


def _outcome(row: dict[str, Any] | None, times: int, attempt: int) -> Outcome:
    if row is None:
        return Failure("Lambda.MissingRecordId", "the answer does not have the record", attempt)
    if times > 1:
        return Failure("Lambda.DuplicatedRecordId", f"the answer has the record {times} times", attempt)
    result = row.get("result")
    if result == "Ok":
        return _line(row, attempt)
    if result == "Dropped":
        return None
    if result == "ProcessingFailed":
        return Failure("Lambda.ProcessingFailedStatus", "the function could not process the record", attempt)
    return Failure("Lambda.JsonProcessingException", f"{result!r} is no result", attempt)


def _line(row: dict[str, Any], attempt: int) -> bytes | Failure:
    try:
        return pybase64.b64decode(row["data"], validate=True)
    except (KeyError, TypeError, ValueError) as error:
        return Failure("Lambda.JsonProcessingException", f"data is no base64: {error!r}", attempt)
