"""An hour of arrival becomes one sorted file, whatever delivery left out or sent twice."""

import os
import time
from collections.abc import Collection
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from clickstream_assets.enriched.heal import Healed, heal
from clickstream_assets.enriched.seal import enriched_files, is_closed, seal, seal_hour, sealed_from
from clickstream_assets.failed.collect import publish_failed_events
from clickstream_assets.ledger.balance import is_stale, is_unsealed, publish_balance
from resources.lake import DirectoryLake, partition_file
from resources.warehouse import DuckDBWarehouse
from streaming.domain.layout import hour_of, hour_prefix
from streaming.domain.tables import ENRICHED_EVENTS, FAILED_EVENTS
from streaming.edges.look_ups import Found
from streaming.edges.parquet import arrow_schema
from tests.clickstream_assets.conftest import NOW, KnownLookUps, caught_up
from tests.landing import Delivery, delivery, land

HOUR = hour_of(NOW)
DONE = caught_up(NOW + timedelta(hours=5))


def sealed_file(lake: DirectoryLake) -> Path:
    return lake.path(partition_file(ENRICHED_EVENTS, HOUR))


def test_a_record_delivered_twice_is_kept_once_with_the_fewest_reasons(
    lake: DirectoryLake, warehouse: DuckDBWarehouse
) -> None:
    complete = delivery(NOW, "a", NOW)
    poor = replace(complete, name=None, place=None, reasons=("name:lookup_failed", "place:lookup_failed"))
    earlier = delivery(NOW, "b", NOW - timedelta(seconds=1))
    land(lake, [poor, complete], "one")
    land(lake, [poor, earlier], "two")

    assert seal(HOUR, lake, warehouse) == 2

    rows = pq.read_table(sealed_file(lake), partitioning=None)
    assert rows["click_id"].to_pylist() == ["b", "a"]
    assert rows["name"].to_pylist() == ["Semyon Ryan", "Semyon Ryan"]
    assert rows.schema.remove_metadata().equals(arrow_schema(ENRICHED_EVENTS))
    assert sealed_from(sealed_file(lake)) == {"one.parquet", "two.parquet"}


@pytest.mark.parametrize("threads", [1, 4])
def test_equal_input_gives_equal_bytes(lake: DirectoryLake, warehouse: DuckDBWarehouse, threads: int) -> None:
    deliveries = [delivery(NOW, f"click-{i}", NOW + timedelta(microseconds=i * 37 % 1000)) for i in range(3_000)]
    for part in range(5):
        land(lake, deliveries[part::4], f"part-{part}")
    seal(HOUR, lake, warehouse)
    first = sealed_file(lake).read_bytes()

    seal(HOUR, lake, DuckDBWarehouse(100_000_000, lake.root / ".duckdb", threads))

    assert sealed_file(lake).read_bytes() == first


def test_an_hour_is_closed_when_every_shard_has_passed_it(lake: DirectoryLake) -> None:
    assert not is_closed(HOUR, lake, caught_up(None))
    assert not is_closed(HOUR, lake, caught_up(HOUR + timedelta(hours=1)))
    assert is_closed(HOUR, lake, caught_up(HOUR + timedelta(hours=1, minutes=1)))


def test_what_delivery_left_out_is_enriched_before_the_seal(lake: DirectoryLake, warehouse: DuckDBWarehouse) -> None:
    land(lake, [delivery(NOW, "a", NOW)], "one")
    left_out = [delivery(NOW, "b", NOW), Delivery(b'{"bad": 1}', NOW, "0" * 32), Delivery(b"no json", NOW, "1" * 32)]
    land(lake, left_out, "two", enriched=False)

    sealed = seal_hour(HOUR, lake, warehouse, KnownLookUps(), from_raw=None)

    assert (sealed.rows, sealed.healed.records, sealed.from_raw) == (2, 3, False)
    assert "0" * 32 in sealed.healed.first
    names = dict(
        zip(
            *(pq.read_table(sealed_file(lake), partitioning=None)[c].to_pylist() for c in ("click_id", "name")),
            strict=True,
        )
    )
    assert names == {"a": "Semyon Ryan", "b": "Ada Lovelace"}
    publish_failed_events(HOUR, lake, warehouse)
    assert publish_balance(HOUR, lake, warehouse, DONE).state == "balanced"
    types = pq.read_table(lake.path(partition_file(FAILED_EVENTS, HOUR)), partitioning=None)["type"].to_pylist()
    assert sorted(types) == ["malformed_json", "schema_violation"]


def test_what_raw_lacks_is_kept_and_stays_red_when_the_hour_is_enriched_anew(
    lake: DirectoryLake, warehouse: DuckDBWarehouse
) -> None:
    land(lake, [delivery(NOW, "a", NOW)], "one")
    land(lake, [delivery(NOW, "b", NOW)], "two")
    lake.path(f"{hour_prefix('raw', HOUR)}/two.json.gz").unlink()

    assert seal_hour(HOUR, lake, warehouse, KnownLookUps(), from_raw=True).rows == 2

    balance = publish_balance(HOUR, lake, warehouse, DONE)
    assert (balance.state, balance.enriched_records, balance.unknown_records) == ("red", 2, 1)
    rows = pq.read_table(sealed_file(lake), partitioning=None)
    assert dict(zip(rows["click_id"].to_pylist(), rows["name"].to_pylist(), strict=True)) == {
        "a": "Ada Lovelace",
        "b": "Semyon Ryan",
    }


class LandsWhileItLooks(KnownLookUps):
    """Look-ups during which delivery writes one more file."""

    def __init__(self, lake: DirectoryLake) -> None:
        super().__init__()
        self._lake = lake

    def find(self, user_ids: Collection[str], ips: Collection[str]) -> Found:
        land(self._lake, [delivery(NOW, "late", NOW)], "late")
        return super().find(user_ids, ips)


def test_what_lands_while_an_hour_is_enriched_anew_is_not_taken_for_sealed(
    lake: DirectoryLake, warehouse: DuckDBWarehouse
) -> None:
    land(lake, [delivery(NOW, "a", NOW)], "one")

    seal_hour(HOUR, lake, warehouse, LandsWhileItLooks(lake), from_raw=True)

    assert is_unsealed(HOUR, lake)
    balance = publish_balance(HOUR, lake, warehouse, DONE)
    assert (balance.state, balance.enriched_records) == ("balanced", 2)


def test_healing_twice_finds_nothing_left(lake: DirectoryLake, warehouse: DuckDBWarehouse) -> None:
    land(lake, [delivery(NOW, "a", NOW)], "one", enriched=False)
    assert heal(HOUR, lake, warehouse, KnownLookUps).records == 1
    listed = [file.name for file in enriched_files(HOUR, lake)]
    assert heal(HOUR, lake, warehouse, KnownLookUps) == Healed(0, [])
    assert [file.name for file in enriched_files(HOUR, lake)] == listed


def test_a_later_file_reopens_the_hour(lake: DirectoryLake, warehouse: DuckDBWarehouse) -> None:
    land(lake, [delivery(NOW, "a", NOW)], "one")
    seal(HOUR, lake, warehouse)
    publish_balance(HOUR, lake, warehouse, DONE)
    assert not is_stale(HOUR, lake)

    land(lake, [delivery(NOW, "b", NOW)], "two")

    assert is_stale(HOUR, lake)
    assert [file.name for file in enriched_files(HOUR, lake)] == ["enriched_events.parquet", "two.parquet"]
    assert seal(HOUR, lake, warehouse) == 2


@pytest.mark.parametrize("dated", [-3600, 3600])
def test_a_later_file_shows_whatever_the_clock_says(
    lake: DirectoryLake, warehouse: DuckDBWarehouse, dated: int
) -> None:
    land(lake, [delivery(NOW, "a", NOW)], "one")
    seal(HOUR, lake, warehouse)
    publish_balance(HOUR, lake, warehouse, DONE)
    land(lake, [delivery(NOW, "b", NOW)], "two")
    then = time.time() + dated
    for table in ("raw", "enriched_landing"):
        os.utime(lake.path(hour_prefix(table, HOUR)), (then, then))

    assert is_unsealed(HOUR, lake)


def test_an_hour_enriched_anew_keeps_its_new_names_when_it_is_sealed_again(
    lake: DirectoryLake, warehouse: DuckDBWarehouse
) -> None:
    land(lake, [replace(delivery(NOW, "a", NOW), name=None, reasons=("name:lookup_failed",))], "one")
    seal_hour(HOUR, lake, warehouse, KnownLookUps(), from_raw=None)

    assert seal_hour(HOUR, lake, warehouse, KnownLookUps("Grace Hopper"), from_raw=True).from_raw
    land(lake, [delivery(NOW, "b", NOW)], "two")
    sealed = seal_hour(HOUR, lake, warehouse, KnownLookUps("Grace Hopper"), from_raw=None)

    assert sealed.from_raw
    rows = pq.read_table(sealed_file(lake), partitioning=None)
    assert rows["name"].to_pylist() == ["Grace Hopper", "Grace Hopper"]
    assert rows["missing_reasons"].to_pylist() == [None, None]
