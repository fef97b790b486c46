"""The platform on AWS: emulated S3, Glue and CloudWatch, stand-ins for what no emulator does, real Redis and MariaDB.

A local platform beside it is fed with the same records.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event
from typing import Any

import boto3
import dagster as dg
import duckdb
import pytest

from clickstream_assets.catalog import CATALOGUED
from clickstream_assets.catch_up import CatchUp
from clickstream_assets.definitions import build_definitions, opened_edges, resources_of
from clickstream_assets.jobs import REFRESH_USER_NAMES
from clickstream_assets.partitions import Partitions
from resources.catalog import DuckDBCatalog
from streaming.domain.tables import Table
from streaming.edges.event_stream import StreamRecord
from streaming.edges.lake import LocalLake
from streaming.edges.look_ups import LookUps
from streaming.handlers.enrichment import enrich
from streaming.runtime.delivery_stream import DeliveryStream
from streaming.runtime.lambda_host import Handler, LambdaHost
from streaming.runtime.transform import Transform
from streaming.runtime.worker import events_options
from streaming.settings import Settings, load_settings
from tests.aws.crawlers import FinishingCrawlers
from tests.aws.firehose import Firehose
from tests.aws_proxy import AwsProxy
from tests.aws_standins.athena import Athena
from tests.aws_standins.redshift import RedshiftData
from tests.clickstream_assets.conftest import DeliveryTo
from tests.streaming.conftest import geo_folder

__all__ = ["geo_folder"]

BUCKET = "clickstream-lake"
STREAM = "clickstream-events"


@pytest.fixture
def crawlers(aws: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[FinishingCrawlers]:
    """Crawlers of the stack, where clients look for Glue."""
    crawlers = FinishingCrawlers("clickstream", BUCKET)
    with AwsProxy(aws, crawlers) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL_GLUE", proxy.address)
        yield crawlers


@pytest.fixture
def on_aws(
    crawlers: FinishingCrawlers,
    redshift_data: RedshiftData,
    athena: Athena,
    cache_redis_url: str,
    mysql_url: str,
    geo_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Settings:
    """The deployment on AWS, with an empty bucket, and a catalog of empty tables."""
    environment = {
        "CLICKSTREAM_DEPLOYMENT": "aws",
        "CLICKSTREAM_LAKE_BUCKET": BUCKET,
        "CLICKSTREAM_HOME": str(tmp_path / "aws"),
        "CLICKSTREAM_START": "2026-10-01",
        "CACHE_REDIS_URL": cache_redis_url,
        "MYSQL_URL": mysql_url,
        "GEOIP_DATABASE": str(geo_folder),
        "IPINFO_TOKEN": "",
        "DAGSTER_HOME": str(tmp_path / "aws"),
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    boto3.client("s3").create_bucket(Bucket=BUCKET)
    settings = load_settings()
    settings.home.mkdir()
    with opened_edges(settings, "catalog_database") as edges:
        edges.catalog_database.refresh(CATALOGUED)
    delivered_all()
    return settings


def delivered_all() -> None:
    """Firehose has read the stream to its tip and holds nothing, as its metrics say."""
    now = datetime.now(UTC)
    boto3.client("cloudwatch").put_metric_data(
        Namespace="AWS/Firehose",
        MetricData=[
            {
                "MetricName": "KinesisMillisBehindLatest",
                "Dimensions": [{"Name": "DeliveryStreamName", "Value": STREAM}],
                "Timestamp": now - timedelta(minutes=minutes),
                "Value": 0.0,
            }
            for minutes in range(1, 30)
        ],
    )


@pytest.fixture
def locally(on_aws: Settings, tmp_path: Path) -> Settings:
    """The settings of a local platform with the same Redis and MariaDB."""
    home = tmp_path / "local"
    return replace(on_aws, deployment="local", home=home, lake=home / "lake")


@pytest.fixture
def transform(on_aws: Settings) -> Transform:
    """The Lambda `enrichment`, as Firehose calls it."""
    return transform_by(handler_of(on_aws))


def handler_of(settings: Settings) -> Handler:
    look_ups = LookUps.from_settings(settings)
    return lambda event, _: {"records": enrich(event["records"], look_ups)}


def transform_by(handler: Handler, timeout_seconds: float = 10) -> Transform:
    return Transform(LambdaHost("enrichment", handler, timeout_seconds), STREAM, 1_000_000)


def deliver(records: Sequence[StreamRecord], transform: Transform, *everywhere: Settings) -> None:
    """Deliver one flush of a stream to the lake of each deployment."""
    for settings in everywhere:
        if settings.deployment == "aws":
            Firehose(settings.lake_bucket, transform).deliver(records)
        else:
            delivery = DeliveryStream(events_options(settings), LocalLake(settings.lake), transform)
            delivery.deliver("shardId-000000000000", records, Event())


class Platform:
    """A deployment's definitions and edges, with an instance of Dagster of its own."""

    def __init__(self, settings: Settings, instance: dg.DagsterInstance) -> None:
        # Locally there is no stream whose checkpoints would say so.
        done: dict[str, Any] = {} if settings.deployment == "aws" else {"delivery": DeliveryTo(datetime.now(UTC))}
        self.settings = settings
        self.instance = instance
        self.definitions = build_definitions(settings, done)
        self._edges = resources_of(settings) | done

    @contextmanager
    def edges(self) -> Iterator[Any]:
        with dg.build_resources(self._edges) as edges:
            yield edges

    def catch_up(self) -> list[str]:
        """Bring all tables up to date; the jobs that ran."""
        before = self.instance.get_runs_count()
        with self.edges() as edges:
            runs = CatchUp(self.definitions, Partitions.since(self.settings.start), self.instance, lambda _: None)
            runs.run(edges.lake, edges.delivery.progress())
        assert not runs.failed_runs
        return [run.job_name for run in self.instance.get_runs(limit=self.instance.get_runs_count() - before)][::-1]

    def run(self, job: str, **options: Any) -> dg.ExecuteInProcessResult:
        """Run one job."""
        return self.definitions.resolve_job_def(job).execute_in_process(instance=self.instance, **options)

    def rows(self, table: Table, columns: str = "*", where: str = "true") -> list[tuple[Any, ...]]:
        """What analysts would read of a published table, in the order of its values."""
        with self.edges() as edges, edges.lake.scratch() as scratch, edges.lake.mirrored([table]) as mirror:
            catalog = DuckDBCatalog(scratch / "catalog.duckdb", mirror)
            catalog.refresh([table])
            with duckdb.connect(catalog.file, read_only=True) as connection:
                return connection.sql(f'SELECT {columns} FROM "{table.name}" WHERE {where} ORDER BY ALL').fetchall()


@pytest.fixture
def aws_platform(on_aws: Settings, tmp_path: Path) -> Iterator[Platform]:
    (tmp_path / "aws-dagster").mkdir()
    with dg.DagsterInstance.local_temp(str(tmp_path / "aws-dagster")) as instance:
        platform = Platform(on_aws, instance)
        platform.run(REFRESH_USER_NAMES)
        yield platform


@pytest.fixture
def local_platform(locally: Settings, tmp_path: Path) -> Iterator[Platform]:
    (tmp_path / "local-dagster").mkdir()
    with dg.DagsterInstance.local_temp(str(tmp_path / "local-dagster")) as instance:
        yield Platform(locally, instance)
