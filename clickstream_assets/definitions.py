"""The definitions that Dagster loads. Nothing is read before it asks for them."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import dagster as dg

from clickstream_assets.aggregates.assets import aggregate_assets
from clickstream_assets.aggregates.customer_prices import customer_prices_asset
from clickstream_assets.alerts import alert_sensor
from clickstream_assets.catalog import catalog
from clickstream_assets.dashboard.assets import dashboard_assets, rebuild_dashboard
from clickstream_assets.dead_runs import fail_dead_runs
from clickstream_assets.enriched.assets import enriched_assets
from clickstream_assets.failed.assets import failed_assets
from clickstream_assets.flattened.assets import flattened_assets
from clickstream_assets.freshness import latest_hours_are_present
from clickstream_assets.health import AwsHealthResource, LocalHealthResource
from clickstream_assets.ingestion.assets import ingestion_assets
from clickstream_assets.jobs import JOBS
from clickstream_assets.last_access import last_access
from clickstream_assets.ledger.assets import ledger_assets
from clickstream_assets.partitions import Partitions
from clickstream_assets.reports.assets import latest_search_by_user, one_row_per_user_who_searched
from clickstream_assets.schedules import SCHEDULES
from clickstream_assets.sensors import sensors
from resources.aws.athena import athena_federation
from resources.aws.firehose import FirehoseDeliveryResource
from resources.aws.glue.catalog import GlueCatalogResource
from resources.aws.redshift import RedshiftWarehouseResource
from resources.aws.s3.lake import S3LakeResource
from resources.catalog import DuckDBCatalogResource
from resources.delivery import RedisDeliveryResource
from resources.federation import duckdb_federation
from resources.lake import LocalLakeResource
from resources.look_ups import EnrichmentSourcesResource
from resources.spark import LocalSparkResource
from resources.user_cache import RedisUserCacheResource
from resources.users_db import MySqlUsersDbResource
from resources.warehouse import DuckDBWarehouseResource
from streaming.settings import Settings, load_settings


@dg.definitions
def definitions() -> dg.Definitions:
    """The platform of the settings in force."""
    return build_definitions()


def build_definitions(
    settings: Settings | None = None, resource_overrides: Mapping[str, Any] | None = None
) -> dg.Definitions:
    """The asset graph on the edges of a deployment; `resource_overrides` replaces edges by their role."""
    settings = settings or load_settings()
    partitions = Partitions.since(settings.start)
    dashboard, numbers_equal_the_tables = dashboard_assets(settings)
    return dg.Definitions(
        assets=[
            *ingestion_assets(partitions),
            last_access,
            *enriched_assets(partitions, settings.alert_degraded_share, settings.engines["enriched_events"]),
            *failed_assets(partitions),
            *ledger_assets(partitions),
            *flattened_assets(partitions, settings.engines["flattened_events"]),
            customer_prices_asset(partitions),
            *aggregate_assets(partitions),
            latest_search_by_user,
            dashboard,
            catalog,
        ],
        asset_checks=[latest_hours_are_present, one_row_per_user_who_searched, numbers_equal_the_tables],
        jobs=JOBS,
        schedules=SCHEDULES,
        sensors=[*sensors(partitions), rebuild_dashboard, alert_sensor(settings), fail_dead_runs],
        resources=resources_of(settings) | dict(resource_overrides or {}),
        executor=dg.in_process_executor,
    )


def resources_of(settings: Settings) -> dict[str, Any]:
    """The edges of the deployment that the settings are of, by role."""
    return aws_resources(settings) if settings.deployment == "aws" else local_resources(settings)


@contextmanager
def opened_edges(settings: Settings, *roles: str) -> Iterator[Any]:
    """Some edges, by role, for who works on them without a run."""
    edges = resources_of(settings)
    with dg.build_resources({role: edges[role] for role in roles}) as some:
        yield some


def local_resources(settings: Settings) -> dict[str, Any]:
    """The edges of the local deployment, by role."""
    root = str(settings.lake)
    return {
        "lake": LocalLakeResource(root=root),
        "warehouse": DuckDBWarehouseResource(
            memory_limit_bytes=settings.memory_limit_bytes, temp_directory=str(settings.home / "duckdb")
        ),
        "catalog_database": DuckDBCatalogResource(file=str(settings.home / "catalog.duckdb"), root=root),
        "federation": duckdb_federation,
        "delivery": RedisDeliveryResource(),
        "health": LocalHealthResource(),
        "spark": LocalSparkResource(scratch=root),
        **_shared_resources(),
    }


def aws_resources(settings: Settings) -> dict[str, Any]:
    """The edges of the deployment on AWS, by role: of a stack of the template in `infra/`."""
    from resources.aws.glue.jobs import GlueSparkResource  # noqa: PLC0415  loads boto3

    stack, bucket = settings.stack.name, settings.lake_bucket
    delivery = FirehoseDeliveryResource(stack=stack)
    lake = S3LakeResource(
        bucket=bucket,
        database=settings.stack.database,
        folder=str(settings.lake),
        copies_bytes=settings.lake_copies_bytes,
    )
    return {
        "lake": lake,
        "warehouse": RedshiftWarehouseResource(
            stack=stack,
            statement_timeout_seconds=settings.statement_timeout_seconds,
            memory_limit_bytes=settings.memory_limit_bytes,
            temp_directory=str(settings.home / "duckdb"),
        ),
        "catalog_database": GlueCatalogResource(stack=stack, bucket=bucket),
        "federation": athena_federation(settings.stack, settings.statement_timeout_seconds),
        "delivery": delivery,
        "health": AwsHealthResource(lake=lake, delivery=delivery),
        "spark": GlueSparkResource(stack=stack, bucket=bucket),
        **_shared_resources(),
    }


def _shared_resources() -> dict[str, Any]:
    """The edges that are one class in both deployments, and find their servers by the settings."""
    return {
        "users_db": MySqlUsersDbResource(),
        "user_cache": RedisUserCacheResource(),
        "look_ups": EnrichmentSourcesResource(),
    }
