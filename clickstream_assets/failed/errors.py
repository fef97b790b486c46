"""Error files, as the stages record their failures: JSON lines in Firehose's own form.

So this reads the same behind Firehose.
"""

import gzip
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pybase64

from resources.lake import File, Lake
from streaming.domain.enrichment import CODE_VERSION
from streaming.domain.failures import FailureType, Fault
from streaming.domain.tables import FAILED_EVENTS
from streaming.edges.parquet import arrow_schema
from streaming.handlers.records import EventJudge, event_judge

BATCH_BYTES = 1_000_000
# What a row takes besides its raw data.
ROW_BYTES = 1_000

_SCHEMA = arrow_schema(FAILED_EVENTS)

Item = TypeVar("Item")


class ErrorLine(msgspec.Struct):
    """What a line of an error file says. Time is in milliseconds, `rawData` the stream's record in base64."""

    attemptsMade: int  # noqa: N815
    arrivalTimestamp: int  # noqa: N815
    errorCode: str  # noqa: N815
    errorMessage: str  # noqa: N815
    rawData: str  # noqa: N815


_decode = msgspec.json.Decoder(ErrorLine).decode


def collect_failures(hour: datetime, lake: Lake, file: Path) -> list[Path]:
    """Write what every stage recorded for an hour of arrival to one file, unsorted; no file where nothing failed."""
    by_stage = {prefix.rpartition("/")[2]: lake.list_hour(prefix, hour) for prefix in lake.failed_prefixes()}
    if not any(by_stage.values()):
        return []
    judge = event_judge()
    rows = (_row(stage, _decode(line), judge) for stage, files in by_stage.items() for line in _lines(files))
    with pq.ParquetWriter(file, _SCHEMA) as writer:
        for some in by_bytes(rows, lambda row: len(row["raw_data"])):
            writer.write_table(pa.Table.from_pylist(some, _SCHEMA))
    return [file]


def _row(stage: str, line: ErrorLine, judge: EventJudge) -> dict[str, Any]:
    data = pybase64.b64decode(line.rawData)
    envelope, judged = judge(data, datetime.fromtimestamp(line.arrivalTimestamp / 1000, UTC))
    fault = judged[0] if isinstance(judged, list) else Fault(FailureType.PROCESSING_FAILED, "", line.errorMessage)
    return {
        "record_id": envelope.record_id,
        "arrival_timestamp": envelope.arrival.replace(tzinfo=None),
        "state": "failed",
        "replayed_at": None,
        "type": fault.type.value,
        "stage": stage,
        "field": fault.field,
        "reason": fault.reason,
        "error_code": line.errorCode,
        "attempts": line.attemptsMade,
        "handler_version": CODE_VERSION,
        "raw_data": data,
    }


def _lines(files: Iterable[File]) -> Iterator[bytes]:
    for file in files:
        with gzip.open(file) as lines:
            yield from lines


def by_bytes(items: Iterable[Item], size: Callable[[Item], int]) -> Iterator[list[Item]]:
    """Cut what takes `size` bytes each into batches of about BATCH_BYTES."""
    batch: list[Item] = []
    total = 0
    for item in items:
        batch.append(item)
        total += size(item) + ROW_BYTES
        if total >= BATCH_BYTES:
            yield batch
            batch, total = [], 0
    if batch:
        yield batch
