from collections.abc import Collection, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from clickstream_assets.catch_up import CatchUp
from clickstream_assets.definitions import build_definitions
from clickstream_assets.partitions import Partitions
from resources.delivery import DeliveryProgress, ShardProgress
from resources.lake import DirectoryLake
from resources.warehouse import DuckDBWarehouse
from streaming.domain.enrichment import Place
from streaming.edges.event_stream import Checkpoint
from streaming.edges.look_ups import Found
from streaming.edges.user_cache import UserCache
from streaming.edges.users_db import UsersDb
from streaming.settings import Settings, load_settings
from tests.streaming.conftest import geo_folder  # noqa: F401
from tests.streaming.edges.conftest import ipinfo  # noqa: F401

NOW = datetime(2026, 11, 20, 10, 5, tzinfo=UTC)


def caught_up(moment: datetime | None, **sequence_numbers: str) -> DeliveryProgress:
    """Delivery that has come to a moment in all of two shards, and to sequence numbers in those that are named."""
    shards = {"shardId-000000000000", "shardId-000000000001", *sequence_numbers}
    return ShardProgress({shard: Checkpoint(sequence_numbers.get(shard), moment) for shard in shards})


class KnownLookUps:
    """Everyone is called the same and lives in one place."""

    unrepeatable_build = None

    def __init__(self, name: str = "Ada Lovelace", place: Place | None = None) -> None:
        self.name = name
        self.place = place or Place("GB", "England", "London", 51.5, -0.1)

    def find(self, user_ids: Collection[str], ips: Collection[str]) -> Found:
        return Found(dict.fromkeys(user_ids, self.name), dict.fromkeys(ips, self.place), f"1/test/{self.name}")

    def live(self) -> "KnownLookUps":
        return self

    def snapshot(self) -> "KnownLookUps":
        return self


class DeliveryTo:
    """Delivery that has come as far as a test says."""

    def __init__(self, moment: datetime) -> None:
        self.moment = moment

    def progress(self) -> DeliveryProgress:
        return caught_up(self.moment)


@pytest.fixture
def lake(tmp_path: Path) -> DirectoryLake:
    return DirectoryLake(tmp_path / "lake")


@pytest.fixture
def warehouse(tmp_path: Path) -> DuckDBWarehouse:
    return DuckDBWarehouse(200_000_000, tmp_path / "duckdb")


@pytest.fixture
def platform(tmp_path: Path) -> Settings:
    return load_settings({"CLICKSTREAM_HOME": str(tmp_path), "CLICKSTREAM_START": "2026-10-01"})


@pytest.fixture
def delivered() -> DeliveryTo:
    return DeliveryTo(NOW + timedelta(hours=5))


@pytest.fixture
def cache(cache_redis_url: str) -> UserCache:
    return UserCache(cache_redis_url)


@pytest.fixture
def shop(mysql_url: str) -> UsersDb:
    return UsersDb(mysql_url)


@pytest.fixture
def definitions(platform: Settings, delivered: DeliveryTo, cache: UserCache, shop: UsersDb) -> dg.Definitions:
    edges = {"delivery": delivered, "look_ups": KnownLookUps(), "user_cache": cache, "users_db": shop}
    return build_definitions(platform, edges)


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        yield instance


@pytest.fixture
def catch_up(definitions: dg.Definitions, platform: Settings, instance: dg.DagsterInstance) -> CatchUp:
    return CatchUp(definitions, Partitions.since(platform.start), instance, print)
