from collections.abc import Collection
from datetime import UTC, datetime
from pathlib import Path

import pytest

from resources.event_stream import DeliveryProgress
from resources.lake import Lake
from resources.warehouse import DuckDBWarehouse
from streaming.domain.enrichment import Place
from streaming.edges.look_ups import Found
from streaming.edges.redis_stream import Checkpoint

NOW = datetime(2026, 11, 20, 10, 5, tzinfo=UTC)


def caught_up(moment: datetime | None, **sequence_numbers: str) -> DeliveryProgress:
    """Delivery that has come to a moment in all of two shards, and to sequence numbers in those that are named."""
    shards = {"shardId-000000000000", "shardId-000000000001", *sequence_numbers}
    return DeliveryProgress({shard: Checkpoint(sequence_numbers.get(shard), moment) for shard in shards})


class KnownLookUps:
    """Everyone is called the same and lives in one place."""

    def __init__(self, name: str = "Ada Lovelace", place: Place | None = None) -> None:
        self.name = name
        self.place = place or Place("GB", "England", "London", 51.5, -0.1)

    def find(self, user_ids: Collection[str], ips: Collection[str]) -> Found:
        return Found(dict.fromkeys(user_ids, self.name), dict.fromkeys(ips, self.place), f"1/test/{self.name}")

    def live(self) -> "KnownLookUps":
        return self

    def snapshot(self) -> "KnownLookUps":
        return self


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path / "lake")


@pytest.fixture
def warehouse(tmp_path: Path) -> DuckDBWarehouse:
    return DuckDBWarehouse(200_000_000, tmp_path / "duckdb")
