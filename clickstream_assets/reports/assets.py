"""Asset `latest_search_by_user` and its checks."""

from collections.abc import Iterator, Mapping

import dagster as dg
import pyarrow.parquet as pq

from clickstream_assets.freshness import HOURLY
from clickstream_assets.metadata import Metadata, parquet_metadata, table_metadata
from clickstream_assets.reports.latest_search_by_user import STATEMENT, refresh, users_astray
from resources.federation import Federation
from resources.lake import File, Lake, written_partition
from resources.warehouse import Warehouse, sql_file
from streaming.domain.tables import LATEST_SEARCH_BY_USER

SOURCES_CHECK = "every_source_answered"


@dg.asset(
    deps=[dg.AssetDep("flattened_events", partition_mapping=dg.AllPartitionMapping()), "last_access", "customers"],
    check_specs=[
        dg.AssetCheckSpec(
            SOURCES_CHECK,
            asset=LATEST_SEARCH_BY_USER.name,
            description="Redis and MySQL were there; a source that is down costs the report its columns.",
        )
    ],
    group_name="reports",
    kinds={"parquet", "duckdb", "redis", "mysql", "sql"},
    owners=["team:analytics"],
    pool=LATEST_SEARCH_BY_USER.name,
    freshness_policy=HOURLY,
    metadata=table_metadata(LATEST_SEARCH_BY_USER) | {"sql": dg.MetadataValue.md(f"```sql\n{sql_file(STATEMENT)}```")},
)
def latest_search_by_user(
    lake: dg.ResourceParam[Lake], federation: dg.ResourceParam[Federation]
) -> Iterator[dg.MaterializeResult[None]]:
    """The last Search of every user, with last access and place from Redis, name and price per click from MySQL.

    The article's federated query over all flattened events. Redis or MySQL down costs its columns until the next run.
    """
    unavailable = refresh(lake, federation)
    reasons = {source: reason for source, reason in unavailable._asdict().items() if reason}
    yield dg.MaterializeResult(
        metadata=_metadata(written_partition(lake, LATEST_SEARCH_BY_USER, None))
        | {"unavailable": dg.MetadataValue.json(reasons)},
        check_results=[_every_source_answered(reasons)],
    )


@dg.asset_check(asset=latest_search_by_user)
def one_row_per_user_who_searched(
    lake: dg.ResourceParam[Lake], warehouse: dg.ResourceParam[Warehouse]
) -> dg.AssetCheckResult:
    """Each user who ever searched stands in the report once, with the last Search, and nobody else does.

    Where events were flattened since it was written, the next one is judged by them.
    """
    astray = users_astray(lake, warehouse)
    return dg.AssetCheckResult(passed=not astray.is_at_fault, metadata=astray._asdict())


def _every_source_answered(reasons: Mapping[str, str]) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        check_name=SOURCES_CHECK,
        passed=not reasons,
        severity=dg.AssetCheckSeverity.WARN,
        metadata=reasons,
        description=f"no answer from {', '.join(reasons)}: its columns are null" if reasons else None,
    )


def _metadata(file: File) -> Metadata:
    return {
        **parquet_metadata(file, "last_search"),
        "users_without_name": _null_count(file, "name"),
        "users_without_last_access": _null_count(file, "last_access"),
    }


def _null_count(file: File, column: str) -> int:
    metadata = pq.read_metadata(file)
    position = metadata.schema.names.index(column)
    groups = map(metadata.row_group, range(metadata.num_row_groups))
    return sum(group.column(position).statistics.null_count for group in groups)
