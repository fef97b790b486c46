"""Asset `flattened_events`."""

from collections.abc import Iterator
from typing import Any

import dagster as dg

from clickstream_assets.checks import Verdict, evaluate_partitions
from clickstream_assets.flattened.flatten import find_event_hours, flatten, repeated_clicks
from clickstream_assets.freshness import HOURLY
from clickstream_assets.metadata import parquet_metadata, table_metadata
from clickstream_assets.partitions import SAME_PERIOD, SINGLE_RUN, Partitions, hour_key, hour_of_key
from resources.lake import Lake, partition_file
from resources.warehouse import Warehouse
from streaming.domain.tables import FLATTENED_EVENTS

CLICKS_CHECK = "click_id_is_unique"


def flattened_assets(partitions: Partitions) -> list[dg.AssetsDefinition]:
    """The flattened events."""

    @dg.asset(
        partitions_def=partitions.hours,
        deps=[
            dg.AssetDep("enriched_events", partition_mapping=SAME_PERIOD),
            dg.AssetDep("event_ledger", partition_mapping=SAME_PERIOD),
        ],
        backfill_policy=SINGLE_RUN,
        pool="flattened_events",
        check_specs=[
            dg.AssetCheckSpec(
                CLICKS_CHECK,
                asset="flattened_events",
                blocking=True,
                partitions_def=partitions.hours,
                description="No click_id stands twice in an event hour.",
            )
        ],
        group_name="flattened",
        kinds={"parquet", "duckdb", "sql"},
        owners=["team:analytics"],
        metadata=table_metadata(FLATTENED_EVENTS),
        freshness_policy=HOURLY,
    )
    def flattened_events(
        context: dg.AssetExecutionContext, lake: dg.ResourceParam[Lake], warehouse: dg.ResourceParam[Warehouse]
    ) -> Iterator[Any]:
        """One row per click of an hour of event time, from whatever hours of arrival the ledger found its events in.

        Of several deliveries the first to arrive is kept. Refuses an hour that needs a red ledger.
        """
        hours = [hour_of_key(key) for key in context.partition_keys]
        found = find_event_hours(hours, lake)
        for hour in hours:
            if found[hour].arrivals or lake.partition(FLATTENED_EVENTS, hour):
                flatten(hour, found[hour], lake, warehouse)
                told = parquet_metadata(lake.path(partition_file(FLATTENED_EVENTS, hour)), "event_timestamp")
                arrivals = dg.MetadataValue.json([hour_key(arrival) for arrival in found[hour].arrivals])
                context.add_asset_metadata({**told, "arrival_hours": arrivals}, partition_key=hour_key(hour))
        repeated = repeated_clicks(hours, lake, warehouse)
        verdicts = {
            hour_key(hour): Verdict(hour not in repeated, {"repeated_clicks": repeated.get(hour, 0)}) for hour in hours
        }
        yield from evaluate_partitions(context, CLICKS_CHECK, verdicts)

    return [flattened_events]
