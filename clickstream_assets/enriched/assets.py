"""Asset `enriched_events`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow.parquet as pq

from clickstream_assets.checks import Check, Verdict, evaluate_partitions
from clickstream_assets.enriched.seal import has_arrivals, is_closed, seal_hour
from clickstream_assets.freshness import HOURLY
from clickstream_assets.metadata import parquet_metadata, table_metadata
from clickstream_assets.partitions import SINGLE_RUN, Partitions, hour_of_key
from resources.event_stream import Delivery
from resources.lake import Lake, partition_file
from resources.look_ups import EnrichmentSources
from resources.warehouse import Warehouse
from streaming.domain.tables import ENRICHED_EVENTS
from streaming.edges.parquet import arrow_schema

BACKFILL_TAG = "dagster/backfill"
SCHEMA_CHECK = "schema_is_declared"


class SealConfig(dg.Config):
    """`from_raw`: enrich every record anew from raw. Unset: in a backfill, and where the hour was made so before."""

    from_raw: bool | None = None


def enriched_assets(partitions: Partitions) -> list[dg.AssetsDefinition]:
    """The sealed hours."""

    @dg.asset(
        partitions_def=partitions.hours,
        deps=["raw_events", "enriched_landing"],
        backfill_policy=SINGLE_RUN,
        pool="enriched_events",
        check_specs=[
            dg.AssetCheckSpec(
                SCHEMA_CHECK,
                asset="enriched_events",
                blocking=True,
                partitions_def=partitions.hours,
                description="Columns and types of the file are the declared ones.",
            )
        ],
        group_name="enriched",
        kinds={"parquet", "duckdb"},
        owners=["team:platform"],
        metadata=table_metadata(ENRICHED_EVENTS),
        freshness_policy=HOURLY,
    )
    def enriched_events(
        context: dg.AssetExecutionContext,
        config: SealConfig,
        lake: dg.ResourceParam[Lake],
        warehouse: dg.ResourceParam[Warehouse],
        delivery: dg.ResourceParam[Delivery],
        look_ups: dg.ResourceParam[EnrichmentSources],
    ) -> Iterator[Any]:
        """Every record of an hour of arrival once, sealed into one sorted file when delivery is done with the hour.

        What delivery left out is enriched first. A backfill enriches the hour anew from raw, with the customers and
        the geo data of now. An hour that is still open is left as it is.
        """
        progress = delivery.progress()
        from_raw = True if config.from_raw is None and BACKFILL_TAG in context.run.tags else config.from_raw
        verdicts = {}
        for key in context.partition_keys:
            hour = hour_of_key(key)
            if not is_closed(hour, lake, progress) or not has_arrivals(hour, lake):
                continue
            sealed = seal_hour(hour, lake, warehouse, look_ups, from_raw=from_raw)
            file = lake.path(partition_file(ENRICHED_EVENTS, hour))
            told = parquet_metadata(file, "arrival_timestamp")
            context.add_asset_metadata(
                {**told, "from_raw": sealed.from_raw, "healed": sealed.healed}, partition_key=key
            )
            verdicts[key] = _schema_verdict(file)
        yield from evaluate_partitions(context, [Check(SCHEMA_CHECK, verdicts)])

    return [enriched_events]


def _schema_verdict(file: Path) -> Verdict:
    found, declared = pq.read_schema(file).remove_metadata(), arrow_schema(ENRICHED_EVENTS)
    return Verdict(found.equals(declared), {} if found.equals(declared) else {"found": found, "declared": declared})
