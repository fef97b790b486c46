"""Error files of every stage become `failed_events`, each record typed anew by the contract.

Error files are JSON lines in Firehose's own form, so this reads the same behind Firehose.
"""

import gzip
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pybase64

from resources.lake import Lake, modified_at, partition_file
from resources.warehouse import Source, Warehouse, sql_file
from streaming.domain.enrichment import CODE_VERSION
from streaming.domain.failures import FailureType, Fault
from streaming.domain.tables import FAILED_EVENTS
from streaming.edges.parquet import arrow_schema
from streaming.handlers.records import EventJudge, event_judge

ROWS_AT_ONCE = 10_000

_SCHEMA = arrow_schema(FAILED_EVENTS)


class ErrorLine(msgspec.Struct):
    """What a line of an error file says. Time is in milliseconds, `rawData` the stream's record in base64."""

    attemptsMade: int  # noqa: N815
    arrivalTimestamp: int  # noqa: N815
    errorCode: str  # noqa: N815
    errorMessage: str  # noqa: N815
    rawData: str  # noqa: N815


_decode = msgspec.json.Decoder(ErrorLine).decode


def publish_failed_events(hour: datetime, lake: Lake, warehouse: Warehouse) -> int:
    """Write the partition of an hour of arrival; returns its rows."""
    as_of = failures_changed_at(hour, lake)  # before they are read: what comes in between shows as newer
    with lake.scratch() as scratch, lake.publishing(partition_file(FAILED_EVENTS, hour), as_of) as file:
        failures = Source(FAILED_EVENTS, collect_failures(hour, lake, scratch / "failures.parquet"))
        return warehouse.save(sql_file("failed/failed_events"), [], {"failed_events": failures}, file, {})


def has_failures(hour: datetime, lake: Lake) -> bool:
    """Whether any stage ever recorded a failure for an hour of arrival."""
    return failures_changed_at(hour, lake) > 0


def is_collected(hour: datetime, lake: Lake) -> bool:
    """Whether failed_events holds every failure that was recorded for an hour of arrival."""
    return modified_at(lake.path(partition_file(FAILED_EVENTS, hour))) == failures_changed_at(hour, lake)


def failures_changed_at(hour: datetime, lake: Lake) -> int:
    """When a failure was last recorded for an hour of arrival, in nanoseconds since 1970; 0 where none ever was."""
    return max((lake.changed_at(prefix, hour) for prefix in lake.failed_prefixes()), default=0)


def collect_failures(hour: datetime, lake: Lake, file: Path) -> list[Path]:
    """Write what every stage recorded for an hour of arrival to one file, unsorted; no file where nothing failed."""
    by_stage = {prefix.rpartition("/")[2]: lake.list_hour(prefix, hour) for prefix in lake.failed_prefixes()}
    if not any(by_stage.values()):
        return []
    judge = event_judge()
    rows = (_row(stage, _decode(line), judge) for stage, files in by_stage.items() for line in _lines(files))
    with pq.ParquetWriter(file, _SCHEMA) as writer:
        while some := list(islice(rows, ROWS_AT_ONCE)):
            writer.write_table(pa.Table.from_pylist(some, _SCHEMA))
    return [file]


def _row(stage: str, line: ErrorLine, judge: EventJudge) -> dict[str, Any]:
    data = pybase64.b64decode(line.rawData)
    envelope, judged = judge(data, datetime.fromtimestamp(line.arrivalTimestamp / 1000, UTC))
    passes_now = Fault(FailureType.PROCESSING_FAILED, "", line.errorMessage)
    fault = judged[0] if isinstance(judged, list) else passes_now
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


def _lines(files: Iterable[Path]) -> Iterator[bytes]:
    for file in files:
        with gzip.open(file) as lines:
            yield from lines
