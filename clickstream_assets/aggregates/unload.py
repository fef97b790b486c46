"""Unloading a day of an aggregate: one `|`-delimited CSV file with a header, as the article unloads it."""

from datetime import date, datetime

from clickstream_assets.aggregates.dependence import DAY, FlattenedDays
from clickstream_assets.aggregates.registry import Aggregate
from resources.lake import Lake, modified_at, written_at
from resources.warehouse import Source, Warehouse, sql_file
from streaming.domain.layout import day_prefix
from streaming.domain.tables import FLATTENED_EVENTS


def unload(aggregate: Aggregate, day: date, flattened: FlattenedDays, lake: Lake, warehouse: Warehouse) -> int:
    """Write a day of an aggregate from what is flattened of the days it depends on; returns its rows.

    The file is dated by the partitions it was made from, which tells later whether it is up to date.
    """
    start = datetime.combine(day, datetime.min.time())
    sources = {"flattened_events": Source(FLATTENED_EVENTS, flattened.files(aggregate.depends_on, day))}
    with lake.publishing(unloaded_file(aggregate, day), flattened.as_of(aggregate.depends_on, day)) as file:
        return warehouse.unload(sql_file(aggregate.statement), [start, start + DAY], sources, file, aggregate.table)


def unloaded_file(aggregate: Aggregate, day: date) -> str:
    """Where a day of an aggregate lies: `aggregated/<name>/date=2026-11-23/<name>.csv`."""
    return f"{day_prefix(aggregate.table.prefix, day.isoformat())}/{aggregate.name}.csv"


def unloaded_at(aggregate: Aggregate, day: date, lake: Lake) -> int:
    """When a day was unloaded last, in nanoseconds since 1970; 0: never."""
    return written_at(lake.path(unloaded_file(aggregate, day)))


def is_unloaded(aggregate: Aggregate, day: date, flattened: FlattenedDays, lake: Lake) -> bool:
    """Whether a day of an aggregate was made from what is flattened now of the days it depends on."""
    return modified_at(lake.path(unloaded_file(aggregate, day))) == flattened.as_of(aggregate.depends_on, day)
