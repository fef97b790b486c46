"""Asset `enriched_events`."""

from collections.abc import Iterator
from datetime import datetime
from functools import partial
from typing import Any

import dagster as dg
import pyarrow.parquet as pq

from clickstream_assets.checks import Check, Verdict, evaluate_partitions
from clickstream_assets.enriched.heal import Healed
from clickstream_assets.enriched.on_spark import EnrichedPartition, enrich_on_spark
from clickstream_assets.enriched.repair import Repaired, count_degraded, degraded_hours, repair
from clickstream_assets.enriched.seal import SealedHour, has_arrivals, is_closed, is_made_from_raw, seal_hour
from clickstream_assets.freshness import HOURLY
from clickstream_assets.metadata import parquet_metadata, table_metadata
from clickstream_assets.partitions import SINGLE_RUN, Partitions, hour_key, hour_of_key
from resources.delivery import Delivery
from resources.lake import File, Lake, written_partition
from resources.look_ups import EnrichmentSources
from resources.spark import Spark
from resources.warehouse import Warehouse
from streaming.domain.tables import ENRICHED_EVENTS
from streaming.edges.parquet import arrow_schema

BACKFILL_TAG = "dagster/backfill"
SCHEMA_CHECK = "schema_is_declared"
DEGRADED_CHECK = "few_rows_are_degraded"
HEALED_CHECK = "nothing_was_left_out"
# Degraded hours of which nothing is filled, one after another: what is asked is still down, and others can wait.
MOST_IN_VAIN = 3


class SealConfig(dg.Config):
    """`from_raw`: enrich every record anew from raw. Unset: in a backfill, and where the hour was made so before."""

    from_raw: bool | None = None


def enriched_assets(partitions: Partitions, degraded_share: float, engine: str) -> list[dg.AssetsDefinition]:
    """The sealed hours; `degraded_share` is the share of degraded rows above which an hour is warned of.

    `engine` enriches hours anew: `duckdb`, with this process, or `spark`.
    """

    @dg.asset(
        partitions_def=partitions.hours,
        deps=["raw_events", "enriched_landing"],
        backfill_policy=SINGLE_RUN,
        pool="enriched_events",
        check_specs=[
            dg.AssetCheckSpec(
                DEGRADED_CHECK,
                asset="enriched_events",
                partitions_def=partitions.hours,
                description="Few rows lack a name or a place because a look-up failed; they can be repaired.",
            ),
            dg.AssetCheckSpec(
                HEALED_CHECK,
                asset="enriched_events",
                partitions_def=partitions.hours,
                description="Delivery had enriched or failed every record; sealing had none to make up for.",
            ),
            dg.AssetCheckSpec(
                SCHEMA_CHECK,
                asset="enriched_events",
                blocking=True,
                partitions_def=partitions.hours,
                description="Columns and types of the file are the declared ones.",
            ),
        ],
        group_name="enriched",
        kinds={"parquet", "duckdb", engine},
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
        spark: dg.ResourceParam[Spark],
    ) -> Iterator[Any]:
        """Every record of an hour of arrival once, sealed into one sorted file when delivery is done with the hour.

        What delivery left out is enriched first. A backfill enriches the hour anew from raw, with the customers and
        the geo data of now. An hour that is still open is left as it is.
        """
        progress = delivery.progress()
        from_raw = True if config.from_raw is None and BACKFILL_TAG in context.run.tags else config.from_raw
        hours = [hour_of_key(key) for key in context.partition_keys]
        closed = [hour for hour in hours if is_closed(hour, lake, progress) and has_arrivals(hour, lake)]
        on_spark: dict[datetime, EnrichedPartition] = {}
        if engine == "spark" and (anew := [hour for hour in closed if is_made_from_raw(hour, lake, from_raw)]):
            on_spark = enrich_on_spark(anew, lake, warehouse, look_ups, spark, partial(spark.run, context))
        schemas, degraded, healed = {}, {}, {}
        for hour in closed:
            key = hour_key(hour)
            written = on_spark.get(hour)
            if written:
                sealed = SealedHour(written.rows, True, Healed(0, []))
            else:
                sealed = seal_hour(hour, lake, warehouse, look_ups, from_raw=from_raw)
            file = written_partition(lake, ENRICHED_EVENTS, hour)
            told = {"from_raw": sealed.from_raw, "healed": sealed.healed.records, "first_healed": sealed.healed.first}
            told |= written.metadata if written else {}
            context.add_asset_metadata({**parquet_metadata(file, "arrival_timestamp"), **told}, partition_key=key)
            schemas[key] = _schema_verdict(file)
            degraded[key] = _degraded_verdict(count_degraded(hour, lake), sealed.rows, degraded_share)
            healed[key] = _healed_verdict(sealed.healed)
        warnings = [Check(DEGRADED_CHECK, degraded, blocking=False), Check(HEALED_CHECK, healed, blocking=False)]
        yield from evaluate_partitions(context, [*warnings, Check(SCHEMA_CHECK, schemas)])

    return [enriched_events]


def _schema_verdict(file: File) -> Verdict:
    found, declared = pq.read_schema(file).remove_metadata(), arrow_schema(ENRICHED_EVENTS)
    return Verdict(found.equals(declared), {} if found.equals(declared) else {"found": found, "declared": declared})


def _degraded_verdict(degraded: int, rows: int, most: float) -> Verdict:
    share = degraded / rows if rows else 0.0
    return Verdict(
        share <= most,
        {"degraded_records": degraded, "degraded_share": f"{share:.2%}"},
        f"{share:.1%} of the rows lack a name or a place because a look-up failed; repair_degraded_hours fills them",
    )


def _healed_verdict(healed: Healed) -> Verdict:
    if not healed.records:
        return Verdict(True, {"healed": 0})
    first = ", ".join(healed.first)
    told = f"{healed.records:,} records were in raw alone and have been enriched, such as {first}"
    return Verdict(False, {"healed": healed.records, "first_healed": first}, told)


@dg.op(pool="enriched_events", out=dg.Out(dg.Nothing))
def fill_degraded_rows(
    context: dg.OpExecutionContext, lake: dg.ResourceParam[Lake], look_ups: dg.ResourceParam[EnrichmentSources]
) -> None:
    """Land fuller copies of rows whose look-ups failed, hour by hour; a sensor seals the hours anew.

    Says so, and lands nothing, while what the look-ups ask is still down.
    """
    finder, repaired, in_vain = look_ups.live(), Repaired(0, 0), 0
    for hour in degraded_hours(lake):
        found = repair(hour, lake, finder)
        in_vain = 0 if found.filled else in_vain + 1
        repaired = Repaired(repaired.degraded + found.degraded, repaired.filled + found.filled)
        context.log_event(dg.AssetObservation("enriched_events", partition=hour_key(hour), metadata=found._asdict()))
        if in_vain == MOST_IN_VAIN:
            break
    if repaired.degraded and not repaired.filled:
        context.log.warning("nothing was filled: what the look-ups ask is still down")
    context.add_output_metadata(repaired._asdict())


@dg.job(description="Rows that lack a name or a place because of an outage are looked up again, in all sealed hours.")
def repair_degraded_hours() -> None:
    """Only the degraded rows; the others keep what was looked up for them in their time."""
    fill_degraded_rows()
