"""Assets of the ingestion layer. All but `user_names` are written by others, and reported as they arrive."""

import dagster as dg

from clickstream_assets.freshness import LANDING, USER_NAMES
from clickstream_assets.metadata import table_metadata
from clickstream_assets.partitions import Partitions
from streaming.domain.tables import ENRICHED_LANDING, HIGH_INTENT_VIEWS, RAW_EVENTS, Table
from streaming.edges.user_cache import UserCache
from streaming.edges.users_db import UsersDb
from streaming.handlers.data_update import refresh

GROUP = "ingestion"
OWNERS = ["team:platform"]


class RefreshConfig(dg.Config):
    """`full`: compare everyone, for what no watermark tells, such as a customer who was deleted."""

    full: bool = False


def ingestion_assets(partitions: Partitions) -> list[dg.AssetSpec | dg.AssetsDefinition]:
    """The shop's customers, their names in the cache, and the landing tables of delivery."""
    customers = dg.AssetSpec(
        "customers",
        description="The shop's customers, one row per customer_id. Written by the shop.",
        group_name=GROUP,
        kinds={"mysql"},
        owners=["team:shop"],
    )

    @dg.asset(
        deps=[customers],
        group_name=GROUP,
        kinds={"redis", "python"},
        owners=OWNERS,
        pool="user_names",
        freshness_policy=USER_NAMES,
    )
    def user_names(
        config: RefreshConfig, users_db: dg.ResourceParam[UsersDb], user_cache: dg.ResourceParam[UserCache]
    ) -> dg.MaterializeResult[None]:
        """Names of customers in the cache, hash `user:<id>` field `name`, refreshed by the watermark of changes."""
        return dg.MaterializeResult(metadata=refresh(users_db, user_cache, full=config.full))

    return [
        customers,
        user_names,
        _landing(RAW_EVENTS, {"json", "gzip"}, partitions),
        _landing(ENRICHED_LANDING, {"parquet"}, partitions, ["user_names"]),
        _landing(HIGH_INTENT_VIEWS, {"parquet"}, partitions),
    ]


def _landing(table: Table, kinds: set[str], partitions: Partitions, deps: list[str] | None = None) -> dg.AssetSpec:
    return dg.AssetSpec(
        table.name,
        description=f"{table.comment} Written by delivery, which only appends.",
        deps=deps or [],
        partitions_def=partitions.hours,
        group_name=GROUP,
        kinds=kinds,
        owners=OWNERS,
        metadata=table_metadata(table),
        freshness_policy=LANDING,
    )
