"""Unloading a day of an aggregate: one `|`-delimited CSV file with a header, as the article unloads it."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from clickstream_assets.aggregates.registry import Aggregate
from resources.lake import Lake, modified_at
from resources.warehouse import Source, Warehouse, sql_file
from streaming.domain.layout import day_prefix
from streaming.domain.tables import FLATTENED_EVENTS

DAY = timedelta(days=1)


def unload(aggregate: Aggregate, day: date, lake: Lake, warehouse: Warehouse) -> int:
    """Write a day of an aggregate from what is flattened of it; returns its rows.

    The file is dated by the newest partition it was made from, which tells later whether it is up to date.
    """
    as_of = flattened_at(day, lake)
    start = datetime.combine(day, datetime.min.time())
    sources = {"flattened_events": Source(FLATTENED_EVENTS, flattened_files(day, lake))}
    with lake.publishing(unloaded_file(aggregate, day), as_of) as file:
        return warehouse.unload(sql_file(aggregate.statement), [start, start + DAY], sources, file, aggregate.table)


def unloaded_file(aggregate: Aggregate, day: date) -> str:
    """Where a day of an aggregate lies: `aggregated/<name>/date=2026-11-23/<name>.csv`."""
    return f"{day_prefix(aggregate.table.prefix, day.isoformat())}/{aggregate.name}.csv"


def flattened_files(day: date, lake: Lake) -> list[Path]:
    """What is flattened of a day of event time."""
    hours = (datetime.combine(day, datetime.min.time(), UTC) + timedelta(hours=hour) for hour in range(24))
    return [file for hour in hours if (file := lake.partition(FLATTENED_EVENTS, hour))]


def flattened_at(day: date, lake: Lake) -> int:
    """When the newest flattened partition of a day was written, in nanoseconds since 1970; 0 where there is none."""
    return max(map(modified_at, flattened_files(day, lake)), default=0)


def is_unloaded(aggregate: Aggregate, day: date, lake: Lake) -> bool:
    """Whether a day of an aggregate was made from what is flattened of it now."""
    return modified_at(lake.path(unloaded_file(aggregate, day))) == flattened_at(day, lake)
