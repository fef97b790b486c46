"""Enrichment of records that are in raw, by the same Lambda that enriches them on the stream."""

from collections.abc import Sequence
from typing import NamedTuple

import pyarrow as pa
import pybase64

from streaming.domain.tables import ENRICHED_LANDING
from streaming.domain.timestamps import milliseconds
from streaming.edges.look_ups import Finder
from streaming.edges.parquet import arrow_schema, convert
from streaming.handlers.enrichment import enrich
from streaming.jobs.raw import RawRecord

_SCHEMA = arrow_schema(ENRICHED_LANDING)


class RefusedRecord(NamedTuple):
    """A record that enrichment refuses, and the stage and code delivery would have given it."""

    record: RawRecord
    stage: str
    error_code: str
    message: str


class Enriched(NamedTuple):
    """What a batch became: rows of `enriched_landing`, and what failed."""

    rows: pa.Table
    failures: list[RefusedRecord]


def enrich_records(records: Sequence[RawRecord], look_ups: Finder) -> Enriched:
    """Enrich a batch; every record becomes a row or a failure."""
    answers = enrich([_transform_record(record) for record in records], look_ups)
    lines: list[bytes] = []
    enriched: list[RawRecord] = []
    failures: list[RefusedRecord] = []
    for record, answer in zip(records, answers, strict=True):
        if answer["result"] == "Ok":
            enriched.append(record)
            lines.append(pybase64.b64decode(answer["data"]))
        else:
            failures.append(RefusedRecord(record, "enrichment", "Lambda.ProcessingFailedStatus", "ProcessingFailed"))
    rows, rejected = convert(lines, _SCHEMA)
    failures += [
        RefusedRecord(enriched[position], "delivery", "DataFormatConversion.ParseError", reason)
        for position, reason in rejected
    ]
    return Enriched(rows, failures)


def _transform_record(record: RawRecord) -> dict[str, object]:
    return {
        "recordId": record.record_id,
        "approximateArrivalTimestamp": milliseconds(record.arrival),
        "data": pybase64.b64encode_as_string(record.data),
    }
