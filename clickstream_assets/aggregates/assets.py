"""The assets of the aggregates, one for each row of the registry."""

from collections.abc import Iterator
from datetime import date

import dagster as dg

from clickstream_assets.aggregates.dependence import FlattenedDays
from clickstream_assets.aggregates.registry import AGGREGATES, Aggregate
from clickstream_assets.aggregates.unload import is_unloaded, unload
from clickstream_assets.freshness import DAILY
from clickstream_assets.metadata import Metadata, csv_metadata, table_metadata
from clickstream_assets.partitions import SAME_PERIOD, SINGLE_RUN, Partitions, day_of_key, hour_ranges, shown
from resources.lake import Lake, written_partition
from resources.warehouse import Warehouse, sql_file


class AggregateConfig(dg.Config):
    """`only_pending`: leave alone the days of the range that are up to date."""

    only_pending: bool = False


def aggregate_assets(partitions: Partitions) -> list[dg.AssetsDefinition]:
    """Every aggregate of the registry."""
    return [_aggregate_asset(aggregate, partitions) for aggregate in AGGREGATES]


def _aggregate_asset(aggregate: Aggregate, partitions: Partitions) -> dg.AssetsDefinition:
    also_reads = [table.name for table in aggregate.also_reads]

    @dg.asset(
        name=aggregate.name,
        description=f"{aggregate.table.comment} Unloaded as `|`-delimited CSV.",
        partitions_def=partitions.days,
        deps=[dg.AssetDep("flattened_events", partition_mapping=SAME_PERIOD), *also_reads],
        backfill_policy=SINGLE_RUN,
        output_required=False,
        pool=aggregate.name,
        group_name="aggregates",
        kinds={"csv", "duckdb", "sql"},
        owners=["team:analytics"],
        freshness_policy=DAILY,
        metadata=table_metadata(aggregate.table)
        | {"depends_on": ", ".join((f"flattened events of {aggregate.depends_on}", *also_reads))}
        | {"sql": dg.MetadataValue.md(f"```sql\n{sql_file(aggregate.statement)}```")},
    )
    def aggregate_asset(
        context: dg.AssetExecutionContext,
        config: AggregateConfig,
        lake: dg.ResourceParam[Lake],
        warehouse: dg.ResourceParam[Warehouse],
    ) -> Iterator[dg.AssetMaterialization | dg.Output[None]]:
        flattened = FlattenedDays(lake)
        with_events = set(flattened.days)
        for key in context.partition_keys:
            day = day_of_key(key)
            if day not in with_events or (config.only_pending and is_unloaded(aggregate, day, flattened, lake)):
                continue
            changes = _changes(aggregate, day, flattened, lake)
            rows = unload(aggregate, day, flattened, lake, warehouse)
            told = csv_metadata(written_partition(lake, aggregate.table, day), rows) | changes
            if config.only_pending:
                yield dg.AssetMaterialization(context.asset_key, partition=key, metadata=told)
            else:
                context.add_asset_metadata(told, partition_key=key)
        if not config.only_pending:
            yield dg.Output(None)

    return aggregate_asset


def _changes(aggregate: Aggregate, day: date, flattened: FlattenedDays, lake: Lake) -> Metadata:
    """Why a day is unloaded: what was flattened since it was unloaded last, and what else was written that it reads."""
    before = lake.written_at(aggregate.table, day)
    if not before:
        return {"changed_hours": "unloaded for the first time"}
    hours = hour_ranges(flattened.placed_after(before, aggregate.depends_on, day))
    told = {"changed_hours": shown(hours, most=20) or "none"}
    tables = [table.name for table in aggregate.also_reads if lake.written_at(table, day) > before]
    return told | ({"changed_tables": ", ".join(tables)} if tables else {})
