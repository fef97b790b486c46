"""Asset `event_ledger`."""

from collections.abc import Iterator
from typing import Any

import dagster as dg

from clickstream_assets.checks import Check, Verdict, evaluate_partitions
from clickstream_assets.enriched.seal import has_arrivals
from clickstream_assets.failed.collect import has_failures
from clickstream_assets.freshness import HOURLY
from clickstream_assets.ledger.balance import Balance, first_deficits, publish_balance
from clickstream_assets.metadata import Metadata, spark_bars, table_metadata
from clickstream_assets.partitions import SINGLE_RUN, Partitions, hour_of_key
from resources.delivery import Delivery
from resources.lake import Lake
from resources.warehouse import Warehouse
from streaming.domain.tables import EVENT_LEDGER, LEDGER_DEFICITS

BALANCE_CHECK = "every_record_is_accounted_for"
CLICKS_CHECK = "clicks_agree"


def ledger_assets(partitions: Partitions) -> list[dg.AssetsDefinition | dg.AssetSpec]:
    """The ledger, and what keeps hours from balancing."""

    @dg.asset(
        partitions_def=partitions.hours,
        deps=["raw_events", "enriched_events", "failed_events"],
        backfill_policy=SINGLE_RUN,
        pool="event_ledger",
        check_specs=[
            dg.AssetCheckSpec(
                BALANCE_CHECK,
                asset="event_ledger",
                blocking=True,
                partitions_def=partitions.hours,
                description="The record_ids of raw are those of enriched and failed. One that is missing is red.",
            ),
            dg.AssetCheckSpec(
                CLICKS_CHECK,
                asset="event_ledger",
                partitions_def=partitions.hours,
                description="Rows of one click_id agree in what the client sent. Those that do not are kept, and told.",
            ),
        ],
        group_name="enriched",
        kinds={"parquet", "duckdb"},
        owners=["team:platform"],
        metadata=table_metadata(EVENT_LEDGER),
        freshness_policy=HOURLY,
    )
    def event_ledger(
        context: dg.AssetExecutionContext,
        lake: dg.ResourceParam[Lake],
        warehouse: dg.ResourceParam[Warehouse],
        delivery: dg.ResourceParam[Delivery],
    ) -> Iterator[Any]:
        """What became of every record of an hour of arrival, by identity; and the event hours its events belong to.

        Open until every shard's delivery has passed the hour's end, then balanced or red.
        """
        progress = delivery.progress()
        balanced, agreed = {}, {}
        for key in context.partition_keys:
            hour = hour_of_key(key)
            if has_arrivals(hour, lake) or has_failures(hour, lake):
                balance = publish_balance(hour, lake, warehouse, progress)
                context.add_asset_metadata(_metadata(balance), partition_key=key)
                balanced[key] = _balance_verdict(balance, lake)
                agreed[key] = _clicks_verdict(balance)
        yield from evaluate_partitions(
            context, [Check(CLICKS_CHECK, agreed, blocking=False), Check(BALANCE_CHECK, balanced)]
        )

    ledger_deficits = dg.AssetSpec(
        "ledger_deficits",
        description="The records that keep hours from balancing. Written with event_ledger, and emptied by it.",
        deps=[event_ledger],
        partitions_def=partitions.hours,
        group_name="enriched",
        kinds={"parquet", "duckdb"},
        owners=["team:platform"],
        metadata=table_metadata(LEDGER_DEFICITS),
    )
    return [event_ledger, ledger_deficits]


def _balance_verdict(balance: Balance, lake: Lake) -> Verdict:
    if balance.state != "red":
        return Verdict(True, _counts(balance))
    counts = {"missing": balance.missing_records, "unknown": balance.unknown_records}
    first = first_deficits(balance.arrival_hour, lake)
    told = (
        f"{counts[side]:,} {side} ({', '.join(identities)}{', …' if counts[side] > len(identities) else ''})"
        for side, identities in first.items()
    )
    identities = {f"first_{side}": ", ".join(some) for side, some in first.items()}
    description = f"The hour does not balance: {'; '.join(told)}. Table ledger_deficits has all of them."
    return Verdict(False, {**_counts(balance), **identities}, description)


def _clicks_verdict(balance: Balance) -> Verdict:
    if not balance.conflicting_clicks:
        return Verdict(True, {"conflicting_clicks": 0})
    examples = ", ".join(balance.conflict_examples)
    return Verdict(
        False,
        {"conflicting_clicks": balance.conflicting_clicks, "examples": examples},
        f"{balance.conflicting_clicks:,} click_ids stand with other content, such as {examples}.",
    )


def _counts(balance: Balance) -> Metadata:
    return {name: value for name, value in balance._asdict().items() if name == "state" or name.endswith("_records")}


def _metadata(balance: Balance) -> Metadata:
    touched = balance.touched_event_hours
    return {
        **_counts(balance),
        "repeated_deliveries": balance.repeated_deliveries,
        "repeated_clicks": balance.repeated_clicks,
        "conflicting_clicks": balance.conflicting_clicks,
        "failures_by_type": dg.MetadataValue.text(balance.failures_by_type),
        "touched_event_hours": dg.MetadataValue.json(
            {f"{hour.event_hour:%Y-%m-%d %H}": hour.events for hour in touched}
        ),
        "events_by_event_hour": spark_bars([hour.events for hour in touched]),
        "version": balance.version,
    }
