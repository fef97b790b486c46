"""What every stage recorded as failed becomes `failed_events`, each record typed anew by the contract."""

import os
from datetime import datetime

from clickstream_assets.enriched.seal import enriched_files
from clickstream_assets.failed.errors import collect_failures
from resources.lake import Lake
from resources.warehouse import Source, Warehouse, sql_file
from streaming.domain.failures import CONSUMER_STAGES
from streaming.domain.tables import ENRICHED_EVENTS, FAILED_EVENTS, REPLAYS


def publish_failed_events(hour: datetime, lake: Lake, warehouse: Warehouse) -> int:
    """Write the partition of an hour of arrival; returns its rows."""
    as_of = failures_changed_at(hour, lake)  # before they are read: what comes in between shows as newer
    with lake.publishing(FAILED_EVENTS, hour, as_of) as file:
        return write_failed_events(hour, lake, warehouse, file)


def write_failed_events(hour: datetime, lake: Lake, warehouse: Warehouse, file: "os.PathLike[str]") -> int:
    """Write what failed in an hour of arrival, as it stands now, to a file; returns its rows."""
    previous = lake.partition(FAILED_EVENTS, hour)
    with lake.scratch() as scratch:
        sources = {
            "failures": Source(FAILED_EVENTS, collect_failures(hour, lake, scratch / "failures.parquet")),
            "previous": Source(FAILED_EVENTS, [previous] if previous else []),
            "enriched_events": Source(ENRICHED_EVENTS, enriched_files(hour, lake)),
            "replays": Source(REPLAYS, lake.list_hour(REPLAYS.prefix, hour)),
        }
        return warehouse.save(sql_file("failed/failed_events"), [list(CONSUMER_STAGES)], sources, file, {})


def has_failures(hour: datetime, lake: Lake) -> bool:
    """Whether any stage ever recorded a failure for an hour of arrival."""
    return failures_changed_at(hour, lake) > 0


def is_collected(hour: datetime, lake: Lake) -> bool:
    """Whether failed_events holds every failure that was recorded for an hour of arrival."""
    return lake.as_of(FAILED_EVENTS, hour) == failures_changed_at(hour, lake)


def failures_changed_at(hour: datetime, lake: Lake) -> int:
    """When a failure or its replay was last recorded for an hour of arrival, in nanoseconds since 1970; 0: never."""
    return lake.changed_at(failure_prefixes(lake), hour)


def failure_prefixes(lake: Lake) -> list[str]:
    """Where failures are recorded, and what came of replaying them."""
    return [*lake.failed_prefixes(), REPLAYS.prefix]
