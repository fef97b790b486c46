"""Unloading a day of an aggregate: one `|`-delimited CSV file with a header, as the article unloads it."""

import zlib
from datetime import date, datetime
from functools import cache

from clickstream_assets.aggregates.dependence import DAY, FlattenedDays
from clickstream_assets.aggregates.registry import Aggregate
from resources.lake import File, Lake
from resources.warehouse import Source, Sources, Warehouse, sql_file
from streaming.domain.tables import FLATTENED_EVENTS, Table


class NotRecordedError(Exception):
    """A day lacks a partition of a table that an aggregate reads beside flattened events; the message names it."""


def unload(aggregate: Aggregate, day: date, flattened: FlattenedDays, lake: Lake, warehouse: Warehouse) -> int:
    """Write a day of an aggregate from what is flattened of the days it depends on; returns its rows.

    The file is dated by the partitions and the statement it was made from, which tells later whether it is up to date.

    Raises:
        NotRecordedError: what the aggregate reads beside flattened events is not there.
    """
    sources = sources_of(aggregate, day, flattened, lake)
    with lake.publishing(aggregate.table, day, _as_of(aggregate, day, flattened, lake)) as file:
        return warehouse.unload(sql_file(aggregate.statement), bounds(day), sources, file, aggregate.table)


def sources_of(aggregate: Aggregate, day: date, flattened: FlattenedDays, lake: Lake) -> Sources:
    """The tables that an aggregate reads, with the files that a day of it is made from.

    Raises:
        NotRecordedError: what it reads beside flattened events is not there.
    """
    beside = {table.name: Source(table, [_recorded(table, day, lake)], (day, day)) for table in aggregate.also_reads}
    return {FLATTENED_EVENTS.name: flattened.source(aggregate.depends_on, day)} | beside


def bounds(day: date) -> list[datetime]:
    """A day's begin and end, the parameters of every aggregate's statement."""
    start = datetime.combine(day, datetime.min.time())
    return [start, start + DAY]


def is_unloaded(aggregate: Aggregate, day: date, flattened: FlattenedDays, lake: Lake) -> bool:
    """Whether a day of an aggregate was made from what is there now of all that it is made from."""
    return lake.as_of(aggregate.table, day) == _as_of(aggregate, day, flattened, lake)


def _as_of(aggregate: Aggregate, day: date, flattened: FlattenedDays, lake: Lake) -> int:
    beside = (lake.as_of(table, day) for table in aggregate.also_reads)
    return flattened.as_of(aggregate.depends_on, day, [*beside, _edition(aggregate)])


@cache
def _edition(aggregate: Aggregate) -> int:
    """A number that changes with the statement and the columns: what other ones made is behind."""
    made_by = (sql_file(aggregate.statement), [(column.name, column.type) for column in aggregate.table.columns])
    return zlib.crc32(repr(made_by).encode())


def _recorded(table: Table, day: date, lake: Lake) -> File:
    file = lake.partition(table, day)
    if file is None:
        raise NotRecordedError(f"{table.name} has nothing of {day}; materialize it for that day first")
    return file
