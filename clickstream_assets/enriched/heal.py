"""Healing: what is in raw and in neither enriched nor failed is enriched, and landed as if delivery had done it."""

import hashlib
from collections.abc import Callable, Iterable
from datetime import datetime
from itertools import groupby
from typing import NamedTuple

import msgspec
import pybase64

from clickstream_assets.failed.errors import ErrorLine, collect_failures
from resources.lake import Lake
from resources.warehouse import Source, Warehouse, sql_file
from streaming.domain.failures import CONSUMER_STAGES
from streaming.domain.layout import failed_prefix, hour_prefix
from streaming.domain.tables import ENRICHED_LANDING, FAILED_EVENTS, RAW_EVENTS
from streaming.domain.timestamps import milliseconds
from streaming.edges.lake import gzip_bytes
from streaming.edges.look_ups import Finder
from streaming.edges.parquet import parquet_bytes
from streaming.jobs.enrichment import RefusedRecord, enrich_records
from streaming.jobs.raw import RAW_IDENTITIES, raw_records

FEW = 5
# Identities that are held in memory at a time.
MOST_AT_ONCE = 1_000_000


class Healed(NamedTuple):
    """How many records of an hour delivery had left out, and the first few of them."""

    records: int
    first: list[str]


def heal(hour: datetime, lake: Lake, warehouse: Warehouse, open_look_ups: Callable[[], Finder]) -> Healed:
    """Heal an hour of arrival that delivery is done with; tells what it had left out."""
    healed = Healed(0, [])
    while wanted := unaccounted_records(hour, lake, warehouse):
        look_ups = open_look_ups()
        for records in raw_records(lake.list_hour(RAW_EVENTS.prefix, hour), set(wanted)):
            rows, failures = enrich_records(records, look_ups)
            if rows.num_rows:
                lake.publish(landing_name(hour, "heal", (record.record_id for record in records)), parquet_bytes(rows))
            keep_failures(hour, lake, failures)
        healed = Healed(healed.records + len(wanted), healed.first or wanted[:FEW])
        if len(wanted) < MOST_AT_ONCE:
            break
    return healed


def unaccounted_records(hour: datetime, lake: Lake, warehouse: Warehouse) -> list[str]:
    """The first MOST_AT_ONCE identities in raw that are in neither enriched nor failed."""
    with lake.scratch() as scratch:
        sources = {
            "raw_events": Source(RAW_IDENTITIES, lake.list_hour(RAW_EVENTS.prefix, hour)),
            "enriched_landing": Source(ENRICHED_LANDING, lake.list_hour(ENRICHED_LANDING.prefix, hour)),
            "failed_events": Source(FAILED_EVENTS, collect_failures(hour, lake, scratch / "failures.parquet")),
        }
        parameters = [MOST_AT_ONCE, list(CONSUMER_STAGES)]
        found = warehouse.select(sql_file("enriched/unaccounted_records"), parameters, sources)
    identities: list[str] = found["record_id"].to_pylist()
    return identities


def keep_failures(hour: datetime, lake: Lake, failures: Iterable[RefusedRecord]) -> None:
    """Record failures where delivery would have: one error file a stage, named after the records in it."""
    for stage, some in groupby(sorted(failures, key=lambda failure: failure.stage), lambda failure: failure.stage):
        of_stage = list(some)
        record_ids = [failure.record.record_id for failure in of_stage]
        file = f"{_name(failed_prefix(stage), hour, 'heal', record_ids)}.json.gz"
        if not lake.exists(file):  # writing it once more would date the hour's arrivals by this repair
            lines = b"".join(msgspec.json.encode(_error_line(failure)) + b"\n" for failure in of_stage)
            lake.publish(file, gzip_bytes(lines))


def landing_name(hour: datetime, kind: str, record_ids: Iterable[str]) -> str:
    """What to call a landing file of records that delivery did not land: equal records, equal names."""
    return f"{_name(ENRICHED_LANDING.prefix, hour, kind, record_ids)}.parquet"


def _name(prefix: str, hour: datetime, kind: str, record_ids: Iterable[str]) -> str:
    identities = hashlib.sha256("".join(sorted(record_ids)).encode())
    return f"{hour_prefix(prefix, hour)}/{kind}-{identities.hexdigest()[:32]}"


def _error_line(failure: RefusedRecord) -> ErrorLine:
    return ErrorLine(
        attemptsMade=1,
        arrivalTimestamp=milliseconds(failure.record.arrival),
        errorCode=failure.error_code,
        errorMessage=failure.message,
        rawData=pybase64.b64encode_as_string(failure.record.data),
    )
