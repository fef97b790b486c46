"""The assets of the aggregates, one for each row of the registry."""

import dagster as dg

from clickstream_assets.aggregates.registry import AGGREGATES, Aggregate
from clickstream_assets.aggregates.unload import flattened_files, unload, unloaded_file
from clickstream_assets.freshness import DAILY
from clickstream_assets.metadata import csv_metadata, table_metadata
from clickstream_assets.partitions import SAME_PERIOD, SINGLE_RUN, Partitions, day_of_key
from resources.lake import Lake
from resources.warehouse import Warehouse, sql_file


def aggregate_assets(partitions: Partitions) -> list[dg.AssetsDefinition]:
    """Every aggregate of the registry."""
    return [_aggregate_asset(aggregate, partitions) for aggregate in AGGREGATES]


def _aggregate_asset(aggregate: Aggregate, partitions: Partitions) -> dg.AssetsDefinition:
    @dg.asset(
        name=aggregate.name,
        description=f"{aggregate.description} {aggregate.grain.capitalize()}, unloaded as `|`-delimited CSV.",
        partitions_def=partitions.days,
        deps=[dg.AssetDep("flattened_events", partition_mapping=SAME_PERIOD)],
        backfill_policy=SINGLE_RUN,
        pool=aggregate.name,
        group_name="aggregates",
        kinds={"csv", "duckdb", "sql"},
        owners=["team:analytics"],
        freshness_policy=DAILY,
        metadata=table_metadata(aggregate.table)
        | {"sql": dg.MetadataValue.md(f"```sql\n{sql_file(aggregate.statement)}```")},
    )
    def aggregate_asset(
        context: dg.AssetExecutionContext, lake: dg.ResourceParam[Lake], warehouse: dg.ResourceParam[Warehouse]
    ) -> None:
        for key in context.partition_keys:
            day = day_of_key(key)
            if flattened_files(day, lake):
                rows = unload(aggregate, day, lake, warehouse)
                file = lake.path(unloaded_file(aggregate, day))
                context.add_asset_metadata(csv_metadata(file, rows), partition_key=key)

    return aggregate_asset
