"""Sealing: the landing files of an hour of arrival become one sorted file of `enriched_events`."""

import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

import pyarrow.parquet as pq

from clickstream_assets.enriched.heal import Healed, heal, keep_failures
from clickstream_assets.enriched.recorded import recorded_places
from resources.delivery import DeliveryProgress
from resources.lake import File, Lake
from resources.look_ups import EnrichmentSources, SnapshotLookUps
from resources.warehouse import Source, Warehouse, sql_file
from streaming.domain.layout import HOUR
from streaming.domain.tables import ENRICHED_EVENTS, ENRICHED_LANDING, RAW_EVENTS
from streaming.edges.parquet import arrow_schema
from streaming.jobs.enrichment import enrich_records
from streaming.jobs.look_ups import RecordedLookUps
from streaming.jobs.raw import RAW_IDENTITIES, raw_records

# What the sealed file says of itself: the landing files that are in it, and whether it was made from raw.
LANDING_FILES = "landing_files"
FROM_RAW = "from_raw"
ORDER = ("arrival_timestamp", "record_id")

# Where delivery lands what was accepted, and what became of it.
ARRIVALS = (RAW_EVENTS.prefix, ENRICHED_LANDING.prefix)

# A record is stamped moments before the stream takes it; an hour waits this long for those on their way.
GRACE = timedelta(seconds=60)


class SealedHour(NamedTuple):
    """How an hour was sealed: its rows, whether from raw, and the records that delivery had left out."""

    rows: int
    from_raw: bool
    healed: Healed


def is_closed(hour: datetime, lake: Lake, progress: DeliveryProgress) -> bool:
    """Whether delivery is done with an hour of arrival: past its end in every shard, and not writing to it now."""
    caught_up_to = progress.caught_up_to
    if caught_up_to is None or caught_up_to < hour + HOUR + GRACE:
        return False
    return all(map(progress.has_passed, lake.list_hour(RAW_EVENTS.prefix, hour)))


def has_arrivals(hour: datetime, lake: Lake) -> bool:
    """Whether delivery ever wrote to an hour."""
    return arrivals_changed_at(hour, lake) > 0


def seal_hour(
    hour: datetime, lake: Lake, warehouse: Warehouse, look_ups: EnrichmentSources, *, from_raw: bool | None
) -> SealedHour:
    """Seal a closed hour: from landing, healed first, or anew from raw (`from_raw` None: as it was made last)."""
    if is_made_from_raw(hour, lake, from_raw):
        return SealedHour(enrich_anew(hour, lake, warehouse, look_ups.snapshot()), True, Healed(0, []))
    healed = heal(hour, lake, warehouse, look_ups.live)
    return SealedHour(seal(hour, lake, warehouse), False, healed)


def seal(hour: datetime, lake: Lake, warehouse: Warehouse) -> int:
    """Seal an hour from its landing files; returns its rows."""
    landed = landed_files(hour, lake.snapshot())
    return _publish(hour, lake, warehouse, landed, landed.files, from_raw=False)


def enrich_anew(hour: datetime, lake: Lake, warehouse: Warehouse, look_ups: SnapshotLookUps) -> int:
    """Seal an hour from its raw copy, every record enriched with the names and places of now; returns its rows.

    Places of a provider that may answer otherwise tomorrow stay as they were recorded, unless it failed then.
    A record that is in landing alone stays as it is, so that the ledger goes on telling of it.
    """
    now = lake.snapshot()
    landed, raw = landed_files(hour, now), now.list_hour(RAW_EVENTS.prefix, hour)
    recorded = recorded_places(look_ups, hour, lake, warehouse)
    finder = look_ups if recorded is None else RecordedLookUps(recorded, look_ups)
    with lake.scratch() as scratch:
        enriched, absent = scratch / "enriched.parquet", scratch / "absent_from_raw.parquet"
        with pq.ParquetWriter(enriched, arrow_schema(ENRICHED_LANDING)) as writer:
            for records in raw_records(raw):
                rows, failures = enrich_records(records, finder)
                writer.write_table(rows)
                keep_failures(hour, lake, failures)
        sources = {
            "enriched_landing": Source(ENRICHED_LANDING, landed.files),
            "raw_events": Source(RAW_IDENTITIES, raw),
        }
        warehouse.save(sql_file("enriched/absent_from_raw"), [], sources, absent, {})
        return _publish(hour, lake, warehouse, landed, [enriched, absent], from_raw=True)


def enriched_files(hour: datetime, lake: Lake) -> list[File]:
    """The files that hold an hour as it is now: the sealed one, and the landing files that are not in it."""
    sealed = lake.partition(ENRICHED_EVENTS, hour)
    in_sealed = sealed_from(sealed) if sealed else set()
    later = [file for file in lake.list_hour(ENRICHED_LANDING.prefix, hour) if file.name not in in_sealed]
    return [sealed, *later] if sealed else later


def sealed_from(sealed: File) -> set[str]:
    """The names of the landing files that are in a sealed file."""
    return set(json.loads(pq.read_metadata(sealed).metadata[LANDING_FILES.encode()]))


def is_made_from_raw(hour: datetime, lake: Lake, from_raw: bool | None) -> bool:
    """Whether an hour is to be enriched anew: as asked, or else as it stands, lest the old names come back."""
    if from_raw is not None:
        return from_raw
    sealed = lake.partition(ENRICHED_EVENTS, hour)
    return sealed is not None and pq.read_metadata(sealed).metadata[FROM_RAW.encode()] == b"true"


def arrivals_changed_at(hour: datetime, lake: Lake) -> int:
    """When delivery last wrote to an hour, in nanoseconds since 1970; a sealed file is dated by it."""
    return lake.changed_at(ARRIVALS, hour)


class Landed(NamedTuple):
    """The landing files of an hour, and the moment from which on more may have come, in nanoseconds since 1970."""

    as_of: int
    files: Sequence[File]

    def file_metadata(self, from_raw: bool) -> dict[str, str]:
        """What a sealed file says of itself."""
        return {LANDING_FILES: json.dumps([file.name for file in self.files]), FROM_RAW: json.dumps(from_raw)}


def landed_files(hour: datetime, now: Lake) -> Landed:
    """What has landed of an hour; `now` is a snapshot, lest the hour be dated by a file that it is sealed without."""
    as_of = arrivals_changed_at(hour, now)  # before the listing: what comes in between shows as newer
    return Landed(as_of, now.list_hour(ENRICHED_LANDING.prefix, hour))


def _publish(
    hour: datetime, lake: Lake, warehouse: Warehouse, landed: Landed, files: Sequence[File], *, from_raw: bool
) -> int:
    metadata = landed.file_metadata(from_raw)
    sources = {"enriched_landing": Source(ENRICHED_LANDING, files)}
    with lake.publishing(ENRICHED_EVENTS, hour, landed.as_of) as file:
        return warehouse.save(sql_file("enriched/enriched_events"), [], sources, file, metadata, ORDER)
