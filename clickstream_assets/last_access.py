"""Asset `last_access`: when and where each user was seen last, in the cache.

The Lambda of that name keeps it. A cache that lost it, which a mark that is gone shows, is filled from enriched_events;
writes of the Lambda meanwhile meet no harm, for a last access never moves back.
"""

from datetime import UTC, datetime
from typing import Any

import dagster as dg
import pyarrow.parquet as pq

from clickstream_assets.enriched.seal import enriched_files
from resources.delivery import Delivery
from resources.lake import Lake
from resources.warehouse import Source, Warehouse, sql_file
from streaming.domain.tables import ENRICHED_EVENTS, ENRICHED_LANDING
from streaming.edges.user_cache import LastAccess, UserCache

USERS_AT_ONCE = 5_000


@dg.asset(
    deps=[dg.AssetDep("enriched_events", partition_mapping=dg.AllPartitionMapping())],
    group_name="ingestion",
    kinds={"redis", "duckdb"},
    owners=["team:platform"],
    pool="last_access",
)
def last_access(
    lake: dg.ResourceParam[Lake],
    warehouse: dg.ResourceParam[Warehouse],
    user_cache: dg.ResourceParam[UserCache],
    delivery: dg.ResourceParam[Delivery],
) -> dg.MaterializeResult[None]:
    """Last access of every user, hash `user:<id>`, rebuilt from all enriched events. The Lambda keeps it otherwise.

    Complete once delivery has landed all that had arrived when the cache was found empty; before that it is done again.
    """
    lost_at = user_cache.last_access_lost_at(datetime.now(UTC))
    caught_up_to = delivery.progress().caught_up_to
    moved = rebuild(lake, warehouse, user_cache)
    complete = lost_at is None or (
        caught_up_to is not None and caught_up_to >= lost_at and user_cache.mark_last_access_complete(lost_at)
    )
    return dg.MaterializeResult(metadata={"users_moved_forward": moved, "complete": complete})


def rebuild(lake: Lake, warehouse: Warehouse, user_cache: UserCache) -> int:
    """Bring the cache forward to all enriched events; returns how many users moved."""
    lake = lake.snapshot()
    hours = sorted({*lake.hours(ENRICHED_EVENTS), *lake.landed_hours(ENRICHED_LANDING.prefix)})
    files = [file for hour in hours for file in enriched_files(hour, lake)]
    moved = 0
    with lake.scratch() as scratch:
        found = scratch / "last_access.parquet"
        sources = {"enriched_events": Source(ENRICHED_EVENTS, files)}
        warehouse.save(sql_file("enriched/last_access"), [], sources, found, {})
        with pq.ParquetFile(found) as rows:
            for batch in rows.iter_batches(USERS_AT_ONCE):
                moved += user_cache.put_last_access(_access(row) for row in batch.to_pylist())
    return moved


def _access(row: dict[str, Any]) -> LastAccess:
    return LastAccess(row["user_id"], row["moment"].replace(tzinfo=UTC), row["record_id"], row["location"])
