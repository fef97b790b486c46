"""What a day of an aggregate depends on, when it is behind, and what all aggregates hold to."""

import os
from dataclasses import replace

import duckdb
import pytest
from hypothesis import given, settings

from clickstream_assets import pending
from clickstream_assets.aggregates.customer_prices import record_prices
from clickstream_assets.aggregates.dependence import DAY, Dependence, FlattenedDays
from clickstream_assets.aggregates.registry import AGGREGATES
from clickstream_assets.aggregates.unload import is_unloaded, unload
from clickstream_assets.catalog import CATALOGUED
from commands.verify import Behind, check_promises
from resources.catalog import DuckDBCatalog
from resources.lake import DirectoryLake, partition_file
from resources.warehouse import DuckDBWarehouse
from streaming.domain.tables import FLATTENED_EVENTS
from tests.clickstream_assets.aggregates import (
    BY_NAME,
    MIDNIGHT,
    Event,
    Shop,
    event,
    flatten_events,
    random_events,
)
from tests.clickstream_assets.layers import aggregate_pending

TODAY = MIDNIGHT.date()
NUMBERS = (-30, -29, -5, -1, 0, 1, 3, 29, 30)
DAYS = {number: TODAY + number * DAY for number in NUMBERS}
DEPENDENTS = {
    Dependence.DAY: (0,),
    Dependence.NEIGHBOURS: (-1, 0, 1),
    Dependence.MONTH: (0, 1, 3, 29),
    Dependence.HISTORY: (0, 1, 3, 29, 30),
}


@pytest.fixture
def days(lake: DirectoryLake) -> FlattenedDays:
    """Days with an event each, one of them today's."""
    flatten_events(lake, [event("20", number * 1440) for number in NUMBERS])
    return FlattenedDays(lake)


def test_days_depend_on_what_the_registry_declares(days: FlattenedDays) -> None:
    assert days.days == list(DAYS.values())
    for depends_on, numbers in DEPENDENTS.items():
        assert days.dependents(depends_on, [TODAY]) == [DAYS[number] for number in numbers]
    assert [len(days.source(each, TODAY).files) for each in Dependence] == [1, 3, 4, 5]


@pytest.mark.usefixtures("days")
def test_a_day_is_behind_when_one_it_depends_on_was_flattened_anew(
    lake: DirectoryLake, warehouse: DuckDBWarehouse
) -> None:
    aggregate_pending(lake, warehouse)
    assert not pending.days(lake)

    flatten_events(lake, [event("35", 0)])

    behind = pending.days(lake)
    assert pending.days(lake, [TODAY]) == behind
    for aggregate in AGGREGATES:
        found = sorted(day for day, some in behind.items() if aggregate in some)
        assert found == [DAYS[number] for number in DEPENDENTS[aggregate.depends_on]], aggregate.name


@pytest.mark.usefixtures("days")
def test_a_day_is_behind_when_its_prices_changed(lake: DirectoryLake, warehouse: DuckDBWarehouse) -> None:
    aggregate_pending(lake, warehouse)

    assert record_prices([TODAY], TODAY, lake, Shop({20: "9.9900"})) == [TODAY]

    assert pending.days(lake) == {TODAY: [BY_NAME["revenue_by_pixel"]]}
    aggregate_pending(lake, warehouse)
    assert not pending.days(lake)


def test_a_day_that_was_made_with_other_columns_is_behind(
    days: FlattenedDays, lake: DirectoryLake, warehouse: DuckDBWarehouse
) -> None:
    before = BY_NAME["events_by_type"]
    unload(before, TODAY, days, lake, warehouse)
    assert is_unloaded(before, TODAY, days, lake)
    for measures in (before.measures[1:], (replace(before.measures[0], type="INTEGER"),)):
        assert not is_unloaded(replace(before, measures=measures), TODAY, days, lake)


@pytest.mark.parametrize("dated", [-3600, 3600])
def test_a_day_is_behind_whatever_the_clock_says(lake: DirectoryLake, warehouse: DuckDBWarehouse, dated: int) -> None:
    """An older date than the newest hour's: a slower writer had begun before, or the clock was set back."""
    flatten_events(lake, [event("20", minute) for minute in (-1440, 0, 60)])
    aggregate_pending(lake, warehouse)
    file = lake.path(partition_file(FLATTENED_EVENTS, MIDNIGHT))
    then = file.stat().st_mtime + dated

    os.utime(file, (then, then))

    assert pending.days(lake)[TODAY] == list(AGGREGATES)


@settings(max_examples=6)
@given(events=random_events(days=(-30, -29, -1, 0, 3)))
def test_random_events_keep_every_invariant(tmp_path_factory: pytest.TempPathFactory, events: list[Event]) -> None:
    lake = DirectoryLake(tmp_path_factory.mktemp("lake"))
    flatten_events(lake, events)
    aggregate_pending(lake, DuckDBWarehouse(100_000_000, lake.root / ".duckdb"))
    assert invariants_broken(lake) == []


def test_a_user_too_many_breaks_an_invariant_of_each(lake: DirectoryLake, warehouse: DuckDBWarehouse) -> None:
    """A day of an aggregate is put back as it was before an event was taken away."""
    events = [event(user, 1, "ViewContent", country="US", region="Ohio") for user in ("7", "20")]
    flatten_events(lake, events)
    aggregate_pending(lake, warehouse)
    files = {name: lake.path(partition_file(aggregate.table, TODAY)) for name, aggregate in BY_NAME.items()}
    before = {name: file.read_bytes() for name, file in files.items()}
    flatten_events(lake, events[:1])
    aggregate_pending(lake, warehouse)
    assert invariants_broken(lake) == []
    for name, file in files.items():
        now = file.read_bytes()
        file.write_bytes(before[name])
        assert {each["aggregate"] for each in invariants_broken(lake)} == {name}
        file.write_bytes(now)


def invariants_broken(lake: DirectoryLake) -> list[dict[str, object]]:
    """What `./run verify` finds of the aggregates' invariants."""
    catalog = DuckDBCatalog(lake.root / ".catalog.duckdb", lake)
    catalog.refresh(CATALOGUED)
    with duckdb.connect(catalog.file, read_only=True) as connection:
        verdicts = check_promises(connection, Behind([], [], []), with_open=True, acknowledged=None)
        return [example for verdict in verdicts if verdict.promise == "days_off" for example in verdict.examples]
