"""Materialising tables from landing files, in this process, as a run of Dagster does: all of a range at once."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import dagster as dg

from clickstream_assets.aggregates.registry import AGGREGATES
from clickstream_assets.definitions import build_definitions
from clickstream_assets.partitions import hour_key, range_tags
from resources.delivery import DeliveryProgress, ShardProgress
from resources.warehouse import DuckDBWarehouse
from streaming.edges.event_stream import Checkpoint
from streaming.edges.users_db import Customer
from streaming.settings import load_settings

# The tables of each step, in the order in which they follow from each other.
STEPS = {
    "failed": ("failed_events",),
    "seal": ("enriched_events",),
    "ledger": ("event_ledger",),
    "flatten": ("flattened_events",),
    "aggregate": ("customer_prices", *(aggregate.name for aggregate in AGGREGATES)),
}
_QUIET = {"loggers": {"console": {"config": {"log_level": "ERROR"}}}}


class Delivered:
    """Delivery that is done with every hour."""

    def progress(self) -> DeliveryProgress:
        """As far as can be."""
        return ShardProgress({"shardId-000000000000": Checkpoint(None, datetime.max.replace(tzinfo=UTC))})


class Shop:
    """A shop whose thousand customers cost the same."""

    def all_customers(self) -> Iterator[Customer]:
        """By customer_id."""
        for customer_id in range(1, 1001):
            yield Customer(customer_id, "pixel", "Ada Lovelace", Decimal("0.25"), datetime.now(UTC))


def materialize(home: Path, step: str, hours: Sequence[datetime], threads: int | None = None) -> None:
    """Materialise the tables of a step for these hours in a row, or their days; `threads` None: one per core."""
    settings = load_settings({"CLICKSTREAM_HOME": str(home), "CLICKSTREAM_START": f"{hours[0]:%Y-%m-%d}"})
    warehouse = DuckDBWarehouse(settings.memory_limit_bytes, home / "duckdb", threads)
    definitions = build_definitions(settings, {"delivery": Delivered(), "warehouse": warehouse, "users_db": Shop()})
    first, last = (f"{hour:%Y-%m-%d}" if step == "aggregate" else hour_key(hour) for hour in (hours[0], hours[-1]))
    definitions.resolve_implicit_global_asset_job_def().execute_in_process(
        instance=dg.DagsterInstance.ephemeral(),
        asset_selection=[dg.AssetKey(table) for table in STEPS[step]],
        tags=range_tags(first, last),
        run_config=_QUIET,
    )
