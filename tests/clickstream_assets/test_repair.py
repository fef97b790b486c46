"""Hours that an outage left degraded are warned of and repaired, and nothing else of them changes."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pyarrow.parquet as pq
import pytest

from clickstream_assets.definitions import build_definitions
from clickstream_assets.enriched.repair import Repaired, degraded_hours, repair
from clickstream_assets.enriched.seal import seal_hour
from clickstream_assets.partitions import hour_key, range_tags
from resources.lake import DirectoryLake, partition_file
from resources.warehouse import DuckDBWarehouse
from streaming.domain.layout import hour_of
from streaming.domain.tables import ENRICHED_EVENTS
from streaming.edges.geo.provider import NoGeo
from streaming.edges.look_ups import Found, LookUps
from streaming.edges.user_cache import CachedPlace, UserCache
from streaming.settings import Settings
from tests.clickstream_assets.conftest import NOW, DeliveryTo, KnownLookUps, caught_up
from tests.clickstream_assets.daemon import Daemon
from tests.clickstream_assets.layers import flatten_pending, settle
from tests.landing import Delivery, delivery, land

HOUR = hour_of(NOW)
IP = "169.235.214.44"
FAILED = ("name:lookup_failed", "place:lookup_failed")


@dataclass
class Sources:
    """Look-ups through the cache that a test says, which may be down; a snapshot that knows everyone."""

    cache: UserCache

    def live(self) -> LookUps:
        return LookUps(self.cache, NoGeo())

    def snapshot(self) -> KnownLookUps:
        return KnownLookUps("Ada Lovelace")


class OutageOfPlaces(KnownLookUps):
    """A snapshot taken while no place can be looked up."""

    def find(self, user_ids: Collection[str], ips: Collection[str]) -> Found:
        return super().find(user_ids, ips)._replace(places=NoGeo().places(ips))


@pytest.fixture
def down(free_port: int) -> UserCache:
    return UserCache(f"redis://127.0.0.1:{free_port}")


@pytest.fixture
def up(cache_redis_url: str) -> UserCache:
    cache = UserCache(cache_redis_url)
    cache.put_names({"20": "Semyon R. Ryan"})
    cache.put_places([(IP, CachedPlace(NoGeo.build, 2e9, "GB", "England", "London", 51.5, -0.1), 60)])
    cache.advance_watermark(NOW)
    return cache


def degraded(click_id: str, **changes: object) -> Delivery:
    return replace(delivery(NOW, click_id, NOW, **changes), name=None, place=None, reasons=FAILED)


@pytest.fixture
def broken_lake(lake: DirectoryLake, warehouse: DuckDBWarehouse) -> DirectoryLake:
    """A sealed hour with two degraded rows, one of them of a user whom nobody knows, and a whole one."""
    land(lake, [degraded("poor"), degraded("stranger", user_id="99"), delivery(NOW, "rich", NOW)], "one")
    settle(lake, warehouse)
    flatten_pending(lake, warehouse)
    return lake


def names(lake: DirectoryLake) -> dict[str, tuple[str | None, str | None, str | None]]:
    rows = pq.read_table(lake.path(partition_file(ENRICHED_EVENTS, HOUR)), partitioning=None).to_pylist()
    return {row["click_id"]: (row["name"], row["city"], row["missing_reasons"]) for row in rows}


def files(lake: DirectoryLake) -> set[Path]:
    return {file for file in lake.root.rglob("*") if file.is_file()}


def test_rows_are_filled_as_far_as_look_ups_find_more(broken_lake: DirectoryLake, up: UserCache) -> None:
    assert degraded_hours(broken_lake) == [HOUR]
    assert degraded_hours(broken_lake, NOW) == []
    assert repair(HOUR, broken_lake, LookUps(up, NoGeo())) == Repaired(2, 2)


def test_while_what_is_asked_is_down_nothing_is_landed(broken_lake: DirectoryLake, down: UserCache) -> None:
    before = files(broken_lake)
    assert repair(HOUR, broken_lake, LookUps(down, NoGeo())) == Repaired(2, 0)
    assert files(broken_lake) == before


def test_trying_again_adds_no_file(broken_lake: DirectoryLake, up: UserCache) -> None:
    repair(HOUR, broken_lake, LookUps(up, NoGeo()))
    before = files(broken_lake)
    repair(HOUR, broken_lake, LookUps(up, NoGeo()))
    assert files(broken_lake) == before


@pytest.fixture
def sources(down: UserCache) -> Sources:
    return Sources(down)


@pytest.fixture
def definitions(platform: Settings, delivered: DeliveryTo, sources: Sources) -> dg.Definitions:
    return build_definitions(platform, {"delivery": delivered, "look_ups": sources})


@pytest.fixture
def repair_all(definitions: dg.Definitions, instance: dg.DagsterInstance) -> Callable[[], None]:
    """The job, run by hand."""
    job = definitions.resolve_job_def("repair_degraded_hours")
    return lambda: job.execute_in_process(instance=instance) and None


def filled(instance: dg.DagsterInstance) -> list[object]:
    """What the job told of the hour, run by run."""
    told = instance.fetch_observations(dg.AssetKey("enriched_events"), limit=10, ascending=True).records
    return [record.asset_observation.metadata["filled"].value for record in told]


def test_the_job_repairs_just_the_degraded_rows_once_the_cache_is_back(
    broken_lake: DirectoryLake,
    definitions: dg.Definitions,
    instance: dg.DagsterInstance,
    delivered: DeliveryTo,
    sources: Sources,
    up: UserCache,
    repair_all: Callable[[], None],
) -> None:
    daemon = Daemon(definitions, instance, broken_lake, delivered)
    repair_all()
    assert filled(instance) == [0]
    assert daemon.tick("reopen_late_hours") == []

    sources.cache = up
    repair_all()

    assert filled(instance) == [0, 2]
    assert daemon.tick("reopen_late_hours") == [(hour_key(HOUR), hour_key(HOUR))]
    assert names(broken_lake) == {
        "poor": ("Semyon R. Ryan", "London", None),
        "stranger": (None, "London", "name:unknown_user"),
        "rich": ("Semyon Ryan", "Riverside", None),
    }
    assert daemon.tick("flatten_touched_hours") == [(hour_key(HOUR), hour_key(HOUR))]
    assert degraded_hours(broken_lake) == []
    repair_all()
    assert filled(instance) == [0, 2]
    assert daemon.tick("reopen_late_hours") == []


def test_an_hour_that_was_made_from_raw_is_made_from_raw_again(
    broken_lake: DirectoryLake,
    warehouse: DuckDBWarehouse,
    definitions: dg.Definitions,
    instance: dg.DagsterInstance,
    delivered: DeliveryTo,
    sources: Sources,
    up: UserCache,
    repair_all: Callable[[], None],
) -> None:
    seal_hour(HOUR, broken_lake, warehouse, OutageOfPlaces(), from_raw=True)
    settle_again = Daemon(definitions, instance, broken_lake, delivered)
    settle_again.tick("reopen_late_hours")
    assert {reasons for _, _, reasons in names(broken_lake).values()} == {"place:lookup_failed"}

    sources.cache = up
    repair_all()

    assert settle_again.tick("reopen_late_hours") == [(hour_key(HOUR), hour_key(HOUR))]
    assert set(names(broken_lake).values()) == {("Ada Lovelace", "London", None)}


def test_a_degraded_hour_is_warned_of_and_blocks_nothing(
    broken_lake: DirectoryLake, definitions: dg.Definitions, instance: dg.DagsterInstance
) -> None:
    result = definitions.resolve_job_def("settle_arrivals").execute_in_process(
        instance=instance, tags=range_tags(hour_key(HOUR), hour_key(HOUR))
    )
    assert result.success
    (check,) = instance.event_log_storage.get_asset_check_execution_history(
        dg.AssetCheckKey(dg.AssetKey("enriched_events"), "few_rows_are_degraded"), limit=5
    )
    evaluation = check.event.dagster_event.asset_check_evaluation_data
    assert (evaluation.passed, evaluation.severity, evaluation.blocking) == (False, dg.AssetCheckSeverity.WARN, False)
    assert (evaluation.partition, evaluation.metadata["degraded_records"].value) == (hour_key(HOUR), 2)


def test_recent_hours_are_repaired_every_hour(
    lake: DirectoryLake, warehouse: DuckDBWarehouse, definitions: dg.Definitions, instance: dg.DagsterInstance
) -> None:
    schedule = definitions.resolve_schedule_def("repair_recent_hours")
    context = dg.build_schedule_context(instance, resources={"lake": lake})
    assert schedule.evaluate_tick(context).run_requests == []
    lately = datetime.now(UTC) - timedelta(hours=3)
    land(lake, [replace(delivery(lately, "a", lately), name=None, reasons=FAILED[:1])], "one")
    settle(lake, warehouse, caught_up(datetime.now(UTC)))
    assert len(schedule.evaluate_tick(context).run_requests) == 1
