"""Hours of arrival enriched anew from raw by a job of Spark's: many at once, and equal to what is made here."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack
from datetime import datetime
from typing import Any, NamedTuple

import msgspec

from clickstream_assets.enriched.heal import keep_failures
from clickstream_assets.enriched.recorded import recorded_places
from clickstream_assets.enriched.seal import ORDER, landed_files
from resources.lake import Lake
from resources.look_ups import EnrichmentSources, SnapshotLookUps
from resources.spark import JobReport, Spark, lake_file, target
from resources.warehouse import Warehouse, inlined, sql_file
from streaming.domain.tables import ENRICHED_EVENTS, RAW_EVENTS
from streaming.jobs.enrichment import RefusedRecord
from streaming.jobs.files import open_input, write_table
from streaming.jobs.work import EnrichedHour, EnrichWork


class EnrichedPartition(NamedTuple):
    """An hour that was written: its rows, and what to tell of it in its metadata."""

    rows: int
    metadata: Mapping[str, Any]


def enrich_on_spark(
    hours: Collection[datetime],
    lake: Lake,
    warehouse: Warehouse,
    look_ups: EnrichmentSources,
    spark: Spark,
    run: Callable[[str, EnrichWork], dict[str, JobReport]],
) -> dict[datetime, EnrichedPartition]:
    """Seal hours from their raw copies by one job of Spark's; `run` runs it."""
    keys = {f"{hour:%Y-%m-%dT%H}": hour for hour in hours}
    with spark.shared() as shared, ExitStack() as publishing:
        work = EnrichWork(
            sql_file("enriched/absent_from_raw"),
            inlined(sql_file("enriched/enriched_events")),
            ORDER,
            look_ups.hand_over(shared),
            [_hour(key, hour, lake, warehouse, look_ups.snapshot(), shared, publishing) for key, hour in keys.items()],
        )
        reports = run("enrich", work)
        for key, hour in keys.items():
            for failures in _failures(reports[key].written.failures):
                keep_failures(hour, lake, failures)
    return {hour: EnrichedPartition(reports[key].written.rows, reports[key].metadata) for key, hour in keys.items()}


def _hour(
    key: str,
    hour: datetime,
    lake: Lake,
    warehouse: Warehouse,
    look_ups: SnapshotLookUps,
    shared: str,
    publishing: ExitStack,
) -> EnrichedHour:
    now = lake.snapshot()
    landed = landed_files(hour, now)
    staged = publishing.enter_context(lake.publishing(ENRICHED_EVENTS, hour, landed.as_of))
    recorded = recorded_places(look_ups, hour, lake, warehouse)
    if recorded is not None:
        write_table(recorded, f"{shared}/{key}-recorded.parquet")
    return EnrichedHour(
        target(staged, key, landed.file_metadata(from_raw=True)),
        [lake_file(file) for file in now.list_hour(RAW_EVENTS.prefix, hour)],
        [lake_file(file) for file in landed.files],
        f"{shared}/{key}",
        None if recorded is None else f"{shared}/{key}-recorded.parquet",
    )


def _failures(files: Iterable[str]) -> Iterator[list[RefusedRecord]]:
    """What enrichment refused, batch by batch."""
    for file in files:
        with open_input(file) as lines:
            for line in lines:
                yield msgspec.json.decode(line, type=list[RefusedRecord])
