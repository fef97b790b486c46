"""Arrivals: what delivery has landed, hour by hour, told to Dagster as it comes."""

import gzip
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from itertools import islice
from typing import Any, NamedTuple

import dagster as dg
import msgspec
import pyarrow.parquet as pq

from clickstream_assets.ingestion.storage import compare_storage
from clickstream_assets.metadata import PREVIEW_ROWS, Metadata, parquet_preview, preview
from clickstream_assets.partitions import hour_key
from resources.lake import File, Lake, are_here, local_paths
from streaming.domain.tables import ENRICHED_LANDING, HIGH_INTENT_VIEWS, RAW_EVENTS, Table

LANDING_TABLES = (RAW_EVENTS, ENRICHED_LANDING, HIGH_INTENT_VIEWS)
DATA_VERSION = "dagster/data_version"

# What is fetched to look into arrivals at a time, which a tick of a sensor has a minute for. To ask for a file costs as
# much as so many bytes of it.
MOST_FETCHED_BYTES = 250_000_000
_REQUEST_BYTES = 1_000_000


class Arrival(NamedTuple):
    """The files of one landing hour; `version` changes when they do."""

    table: Table
    hour: datetime
    files: Sequence[File]
    version: str


def arrivals(lake: Lake, since: int = 0) -> Iterator[Arrival]:
    """The landing hours to which files came at `since` (nanoseconds since 1970) or later."""
    lake = lake.snapshot()
    for table in LANDING_TABLES:
        for hour in lake.landed_hours(table.prefix):
            if lake.changed_at([table.prefix], hour) >= since:
                files = lake.list_hour(table.prefix, hour)
                names = hashlib.sha256("\n".join(file.name for file in files).encode())
                yield Arrival(table, hour, files, names.hexdigest()[:16])


def unreported(some: Iterable[Arrival], instance: dg.DagsterInstance) -> list[Arrival]:
    """Those arrivals that Dagster has not been told of in this version."""
    by_table: dict[str, list[Arrival]] = {}
    for arrival in some:
        by_table.setdefault(arrival.table.name, []).append(arrival)
    return [
        arrival
        for table, theirs in by_table.items()
        for known in [_known_versions(table, [hour_key(arrival.hour) for arrival in theirs], instance)]
        for arrival in theirs
        if known.get(hour_key(arrival.hour)) != arrival.version
    ]


def arrival_events(
    some: Iterable[Arrival], lake: Lake, most_fetched: int = MOST_FETCHED_BYTES
) -> Iterator[dg.AssetMaterialization | dg.AssetObservation]:
    """What tells Dagster of arrivals: partitions show materialisations, staleness goes by observations.

    What is in the files is told as long as not more than `most_fetched` bytes must be fetched for it.
    """
    for arrival in some:
        to_fetch = _to_fetch(arrival, lake)
        metadata: Metadata = {
            "files": len(arrival.files),
            "bytes": lake.landed_bytes(arrival.table.prefix, arrival.hour),
        }
        if to_fetch <= most_fetched:
            most_fetched -= to_fetch
            metadata |= _contents(arrival, lake)
        told: dict[str, Any] = {
            "asset_key": arrival.table.name,
            "partition": hour_key(arrival.hour),
            "metadata": metadata,
            "tags": {DATA_VERSION: arrival.version},
        }
        yield dg.AssetMaterialization(**told)
        yield dg.AssetObservation(**told)


def _known_versions(table: str, keys: list[str], instance: dg.DagsterInstance) -> dict[str, str]:
    tags = instance.event_log_storage.get_latest_tags_by_partition(
        dg.AssetKey(table), dg.DagsterEventType.ASSET_OBSERVATION, [DATA_VERSION], asset_partitions=keys
    )
    return {key: values[DATA_VERSION] for key, values in tags.items()}


def _to_fetch(arrival: Arrival, lake: Lake) -> int:
    """What it costs, in bytes, to look into an arrival: nothing where its files lie on this machine."""
    if are_here(arrival.files):
        return 0
    read = {arrival.table.prefix} if arrival.table is HIGH_INTENT_VIEWS else {arrival.table.prefix, RAW_EVENTS.prefix}
    files = sum(len(lake.list_hour(prefix, arrival.hour)) for prefix in read)
    return sum(lake.landed_bytes(prefix, arrival.hour) for prefix in read) + files * _REQUEST_BYTES


def _contents(arrival: Arrival, lake: Lake) -> Metadata:
    metadata: Metadata = {"preview": _preview(arrival)}
    if arrival.table.format == "parquet":
        metadata["dagster/row_count"] = sum(pq.read_metadata(file).num_rows for file in local_paths(arrival.files))
    if arrival.table is not HIGH_INTENT_VIEWS:
        metadata["storage"] = dg.MetadataValue.md(compare_storage(arrival.hour, lake))
    return metadata


def _preview(arrival: Arrival) -> dg.MarkdownMetadataValue:
    if arrival.table.format == "parquet":
        return parquet_preview(arrival.files[-1])
    with gzip.open(arrival.files[-1]) as lines:
        return preview([msgspec.json.decode(line) for line in islice(lines, PREVIEW_ROWS)])
