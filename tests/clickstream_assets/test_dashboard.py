"""The dashboard's data and its asset: within its limits, the same bytes each time, rebuilt when a table changed."""

import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import dagster as dg
import duckdb
import pytest

from clickstream_assets.aggregates.dependence import FlattenedDays
from clickstream_assets.catch_up import CatchUp
from clickstream_assets.dashboard import published
from clickstream_assets.dashboard.assets import differences, is_built, publish, rebuild_dashboard
from clickstream_assets.dashboard.data import FEWEST_KEYS, NoDataError, decode, extract, opened, pack
from clickstream_assets.dashboard.panels import PANELS, SOURCES
from clickstream_assets.dashboard.web_page import render
from clickstream_assets.jobs import BUILD_DASHBOARD
from resources.lake import DirectoryLake, LocalLakeResource, partition_file
from resources.warehouse import DuckDBWarehouse
from tests.clickstream_assets.aggregates import BY_NAME, event, flatten_events, unloaded
from tests.clickstream_assets.conftest import NOW, caught_up
from tests.clickstream_assets.dashboard_tables import LAST_DAY, make_tables, shop_events
from tests.landing import delivery, land

MEMORY = 200_000_000


@pytest.fixture
def tables(lake: DirectoryLake, warehouse: DuckDBWarehouse) -> Iterator[duckdb.DuckDBPyConnection]:
    make_tables(lake, warehouse, shop_events(days=2, events_a_day=150))
    with opened(lake, MEMORY) as connection:
        yield connection


def test_equal_tables_give_equal_bytes(tables: duckdb.DuckDBPyConnection, lake: DirectoryLake) -> None:
    page = render(tables)
    with opened(lake, MEMORY) as again:
        assert render(again) == page


def test_what_does_not_fit_is_added_up_under_one_key(tables: duckdb.DuckDBPyConnection) -> None:
    everything = pack(tables, 1_000_000)
    packed = pack(tables, len(everything) * 3 // 4)
    assert len(packed) <= len(everything) * 3 // 4
    whole, small = decode(everything)["tables"], decode(packed)["tables"]
    customers = small["actions_by_customer"]
    assert FEWEST_KEYS <= len(customers["keys"]["user_id"]) < customers["total"]
    assert customers["total"] == len(whole["actions_by_customer"]["keys"]["user_id"])
    for name, table in whole.items():
        for measure, values in table["sums"].items():
            assert sum(small[name]["sums"][measure]) == sum(values), (name, measure)


def test_the_oldest_week_of_retention_is_held_whole(lake: DirectoryLake, warehouse: DuckDBWarehouse) -> None:
    """The page holds 26 weeks, and LAST_DAY is a Friday: the oldest of these days is a Saturday."""
    (source,) = (each for each in SOURCES if each.table == "cohort_retention")
    monday = -(source.most_days - 1) - 5
    seen = {"the week before": [monday - 1], "monday": [monday, monday + 7], "sunday": [monday + 6], "now": [0]}
    flatten_events(lake, [event(user, day * 1440) for user, some in seen.items() for day in some])
    for day in FlattenedDays(lake).days:
        unloaded(lake, warehouse, source.table, day)
    with opened(lake, MEMORY) as connection:
        held = extract(connection, source, LAST_DAY)
    users = {(f"{held.keys[key][0]}", held.keys[key][1]): users for key, _, users in held.rows}
    assert users == {("2026-05-18", 0): 2, ("2026-05-18", 1): 1, ("2026-11-16", 0): 1}


def test_a_day_may_have_one_table_and_not_yet_the_others(
    tables: duckdb.DuckDBPyConnection, lake: DirectoryLake
) -> None:
    for source in SOURCES:
        if source.table != "events_by_type":
            lake.path(partition_file(BY_NAME[source.table].table, LAST_DAY)).unlink()
    content = decode(pack(tables, 1_000_000))
    assert content["until"] == f"{LAST_DAY}T00:00:00"
    assert content["tables"]["actions_by_customer"]["since"] == f"{LAST_DAY - timedelta(days=1)}"


def test_a_page_too_small_for_anything_is_refused(tables: duckdb.DuckDBPyConnection) -> None:
    with pytest.raises(ValueError, match="the smallest page's data"):
        pack(tables, 100)


def test_there_is_no_page_without_events(lake: DirectoryLake) -> None:
    with opened(lake, MEMORY) as connection, pytest.raises(NoDataError):
        render(connection)


def test_whole_numbers_beyond_what_a_browser_counts_exactly_are_text(tables: duckdb.DuckDBPyConnection) -> None:
    products = decode(pack(tables, 1_000_000))["tables"]["product_performance"]["keys"]["product_id"]
    assert str(2**53 + 1) in products
    assert 361482 in products


def test_every_panel_reads_what_the_page_holds() -> None:
    held = {source.table: {*source.keys, *source.labels, *source.measures, "events", "hour"} for source in SOURCES}
    for panel in PANELS:
        assert {*panel.dimension, *panel.measures} <= held[panel.table], panel.name


def test_a_page_that_is_not_of_its_tables_is_told(
    tables: duckdb.DuckDBPyConnection, lake: DirectoryLake, warehouse: DuckDBWarehouse
) -> None:
    publish(lake, MEMORY)
    assert is_built(lake)
    assert differences(lake, MEMORY) == {}
    file = lake.path(f"aggregated/events_by_type/date={LAST_DAY}/events_by_type.csv")
    file.write_text(file.read_text().replace("Purchase|", "Purchase|1"))
    assert not is_built(lake)
    assert list(differences(lake, MEMORY)) == ["events_by_type.events"]

    unloaded(lake, warehouse, "events_by_type", LAST_DAY)
    assert not is_built(lake)  # it was written anew, with whatever
    publish(lake, MEMORY)
    assert is_built(lake)


@pytest.mark.usefixtures("tables")
def test_days_that_changed_places_are_told(lake: DirectoryLake) -> None:
    """Every sum over the whole period stays as it was."""
    publish(lake, MEMORY)
    files = [
        lake.path(partition_file(BY_NAME["events_by_region"].table, LAST_DAY - timedelta(days=day))) for day in (0, 1)
    ]
    first, second = (file.read_bytes() for file in files)
    files[0].write_bytes(second)
    files[1].write_bytes(first)
    found = differences(lake, MEMORY)
    (on_page, in_table) = re.findall(r"\d+", found["events_by_region.revenue"])[:2]
    assert on_page == in_table
    assert all(told.endswith("they differ in 2 days") for told in found.values())


def test_catching_up_builds_it_once(catch_up: CatchUp, lake: DirectoryLake, instance: dg.DagsterInstance) -> None:
    land(lake, [delivery(NOW - timedelta(minutes=i), f"click-{i}", NOW) for i in range(40)], "one")
    for _ in range(2):
        catch_up.run(lake, caught_up(NOW + timedelta(hours=5)))
    runs = [run for run in instance.get_runs() if run.job_name == BUILD_DASHBOARD]
    assert [run.status for run in runs] == [dg.DagsterRunStatus.SUCCESS]
    checks = instance.event_log_storage.get_asset_check_execution_history(
        dg.AssetCheckKey(dg.AssetKey("dashboard"), "numbers_equal_the_tables"), limit=1
    )
    assert checks[0].evaluation is not None
    assert checks[0].evaluation.passed
    told = instance.get_latest_materialization_event(dg.AssetKey("dashboard"))
    assert told is not None
    assert told.asset_materialization is not None
    metadata = told.asset_materialization.metadata
    assert str(metadata["preview"].value).startswith("![Events by day and by type](data:image/png;base64,iVBOR")
    content = decode(published.packed_data(lake.path(published.PAGE).read_bytes()))
    assert sum(content["tables"]["events_by_type"]["sums"]["events"]) == 40


def test_the_sensor_asks_when_a_table_changed(
    lake: DirectoryLake, warehouse: DuckDBWarehouse, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    def tick() -> dg.RunRequest | dg.SkipReason:
        resources = {"lake": LocalLakeResource(root=str(lake.root)).create_resource(dg.build_init_resource_context())}
        with dg.build_sensor_context(instance=instance) as context:
            asked = rebuild_dashboard(context, **resources)
        assert isinstance(asked, dg.RunRequest | dg.SkipReason)
        return asked

    assert isinstance(tick(), dg.SkipReason)
    make_tables(lake, warehouse, shop_events(days=1, events_a_day=5))
    assert isinstance(tick(), dg.RunRequest)
    publish(lake, MEMORY)
    assert isinstance(tick(), dg.SkipReason)
