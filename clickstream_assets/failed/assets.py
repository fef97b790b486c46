"""Asset `failed_events`."""

import dagster as dg

from clickstream_assets.failed.collect import has_failures, publish_failed_events
from clickstream_assets.metadata import parquet_metadata, table_metadata
from clickstream_assets.partitions import SINGLE_RUN, Partitions, hour_of_key
from resources.lake import Lake, written_partition
from resources.warehouse import Warehouse
from streaming.domain.tables import FAILED_EVENTS, REPLAYS


def failed_assets(partitions: Partitions) -> list[dg.AssetsDefinition | dg.AssetSpec]:
    """The failed events, and what replays of them came to."""

    @dg.asset(
        partitions_def=partitions.hours,
        deps=["enriched_events"],  # sealing may find failures that delivery left out
        backfill_policy=SINGLE_RUN,
        pool="failed_events",
        group_name="enriched",
        kinds={"parquet", "python"},
        owners=["team:platform"],
        metadata=table_metadata(FAILED_EVENTS),
    )
    def failed_events(
        context: dg.AssetExecutionContext, lake: dg.ResourceParam[Lake], warehouse: dg.ResourceParam[Warehouse]
    ) -> None:
        """Records that broke the contract or could not be processed, typed, with their bytes as they were sent."""
        for key in context.partition_keys:
            hour = hour_of_key(key)
            if has_failures(hour, lake):
                publish_failed_events(hour, lake, warehouse)
                file = written_partition(lake, FAILED_EVENTS, hour)
                context.add_asset_metadata(parquet_metadata(file, "arrival_timestamp"), partition_key=key)

    replays = dg.AssetSpec(
        "replays",
        description="What came of replaying failed events. Written by replay_failed_events, which only appends.",
        deps=[failed_events],
        partitions_def=partitions.hours,
        group_name="enriched",
        kinds={"json", "gzip"},
        owners=["team:platform"],
        metadata=table_metadata(REPLAYS),
    )
    return [failed_events, replays]
