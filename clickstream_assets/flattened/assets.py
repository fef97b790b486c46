"""Asset `flattened_events`."""

from collections.abc import Iterator
from datetime import datetime
from functools import partial
from typing import Any

import dagster as dg

from clickstream_assets.checks import Check, Verdict, evaluate_partitions
from clickstream_assets.flattened.flatten import (
    EventHour,
    changed_arrivals,
    find_event_hours,
    flatten,
    flatten_on_spark,
    is_pending,
    repeated_clicks,
)
from clickstream_assets.freshness import HOURLY
from clickstream_assets.metadata import Metadata, parquet_metadata, table_metadata
from clickstream_assets.partitions import SAME_PERIOD, SINGLE_RUN, Partitions, hour_key, hour_of_key
from resources.lake import Lake, written_partition
from resources.spark import Spark
from resources.warehouse import Warehouse
from streaming.domain.tables import FLATTENED_EVENTS

CLICKS_CHECK = "click_id_is_unique"


class FlattenConfig(dg.Config):
    """`only_pending`: leave alone the hours of the range that are up to date or wait for a red ledger."""

    only_pending: bool = False


def flattened_assets(partitions: Partitions, engine: str) -> list[dg.AssetsDefinition]:
    """The flattened events; `engine` writes them: `duckdb`, or `spark`."""

    @dg.asset(
        partitions_def=partitions.hours,
        deps=[
            dg.AssetDep("enriched_events", partition_mapping=SAME_PERIOD),
            dg.AssetDep("event_ledger", partition_mapping=SAME_PERIOD),
        ],
        backfill_policy=SINGLE_RUN,
        output_required=False,
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
        kinds={"parquet", engine, "sql"},
        owners=["team:analytics"],
        metadata=table_metadata(FLATTENED_EVENTS),
        freshness_policy=HOURLY,
    )
    def flattened_events(
        context: dg.AssetExecutionContext,
        config: FlattenConfig,
        lake: dg.ResourceParam[Lake],
        warehouse: dg.ResourceParam[Warehouse],
        spark: dg.ResourceParam[Spark],
    ) -> Iterator[Any]:
        """One row per click of an hour of event time, from whatever hours of arrival the ledger found its events in.

        Of several deliveries the first to arrive is kept. Refuses an hour that needs a red ledger.
        """
        hours = [hour_of_key(key) for key in context.partition_keys]
        found = find_event_hours(hours, lake)
        if config.only_pending:
            hours = [hour for hour in hours if is_pending(hour, found[hour], lake)]
        due = {hour: found[hour] for hour in hours if found[hour].arrivals or lake.partition(FLATTENED_EVENTS, hour)}
        changed = {hour: changed_arrivals(hour, event_hour, lake) for hour, event_hour in due.items()}
        by_spark: dict[datetime, Metadata] = {}
        if engine == "spark" and due:
            by_spark = flatten_on_spark(due, lake, partial(spark.run, context))
        told = {}
        for hour, event_hour in due.items():
            if engine == "duckdb":
                flatten(hour, event_hour, lake, warehouse)
            metadata = _metadata(hour, event_hour, changed[hour], lake)
            told[hour_key(hour)] = metadata | by_spark.get(hour, {})
        repeated = repeated_clicks(hours, lake, warehouse)
        verdicts = {
            key: Verdict(hour_of_key(key) not in repeated, {"repeated_clicks": repeated.get(hour_of_key(key), 0)})
            for key in told
        }
        if not config.only_pending:
            for key, metadata in told.items():
                context.add_asset_metadata(metadata, partition_key=key)
        yield from evaluate_partitions(context, [Check(CLICKS_CHECK, verdicts)], told if config.only_pending else None)

    return [flattened_events]


def _metadata(hour: datetime, event_hour: EventHour, changed: list[datetime], lake: Lake) -> Metadata:
    file = written_partition(lake, FLATTENED_EVENTS, hour)
    return {
        **parquet_metadata(file, "event_timestamp"),
        "arrival_hours": dg.MetadataValue.json([hour_key(arrival) for arrival in event_hour.arrivals]),
        "changed_arrival_hours": dg.MetadataValue.json([hour_key(arrival) for arrival in changed]),
    }
