"""One row per click of an event hour, however often and however late it was delivered."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clickstream_assets import pending
from clickstream_assets.flattened.flatten import RedLedgerError, find_event_hours, flatten, repeated_clicks
from resources.lake import DirectoryLake, partition_file
from resources.warehouse import DuckDBWarehouse
from streaming.domain.layout import hour_of
from streaming.domain.tables import ENRICHED_LANDING, FLATTENED_EVENTS
from streaming.edges.parquet import arrow_schema
from tests.clickstream_assets.conftest import NOW
from tests.clickstream_assets.layers import aggregate_pending, flatten_pending, settle
from tests.landing import Delivery, delivery, land

HOUR = hour_of(NOW)


def flattened(lake: DirectoryLake, hour: datetime) -> pd.DataFrame:
    return pq.read_table(lake.path(partition_file(FLATTENED_EVENTS, hour)), partitioning=None).to_pandas()


def test_the_earliest_arrival_wins_across_hours_of_arrival(lake: DirectoryLake, warehouse: DuckDBWarehouse) -> None:
    first, again = NOW, NOW + timedelta(hours=2)
    land(lake, [delivery(NOW, "a", again, user_id="20")], "late")
    land(lake, [delivery(NOW, "a", first), delivery(NOW - timedelta(minutes=1), "b", first)], "one")
    settle(lake, warehouse)

    assert flatten_pending(lake, warehouse) == [HOUR]

    rows = flattened(lake, HOUR)
    assert rows["click_id"].tolist() == ["b", "a"]
    assert rows["arrival_timestamp"].tolist() == [pd.Timestamp(first).tz_localize(None)] * 2
    assert rows["price"].astype(str).tolist() == ["694.83", "694.83"]
    file = lake.path(partition_file(FLATTENED_EVENTS, HOUR))
    assert pq.read_schema(file).remove_metadata().equals(arrow_schema(FLATTENED_EVENTS))
    assert repeated_clicks([HOUR], lake, warehouse) == {}


def test_of_copies_that_came_at_once_the_fewest_reasons_win(lake: DirectoryLake, warehouse: DuckDBWarehouse) -> None:
    complete = delivery(NOW, "a", NOW)
    poor = replace(complete, record_id="0" * 32, name=None, reasons=("name:lookup_failed",))
    land(lake, [poor, complete], "one")
    settle(lake, warehouse)
    flatten_pending(lake, warehouse)
    assert flattened(lake, HOUR)["name"].tolist() == ["Semyon Ryan"]


def test_a_click_under_two_event_hours_is_two_events(lake: DirectoryLake, warehouse: DuckDBWarehouse) -> None:
    land(lake, [delivery(NOW, "a", NOW), delivery(NOW - timedelta(hours=1), "a", NOW)], "one")
    settle(lake, warehouse)
    assert flatten_pending(lake, warehouse) == [HOUR - timedelta(hours=1), HOUR]


def test_an_hour_whose_ledger_is_red_is_refused(lake: DirectoryLake, warehouse: DuckDBWarehouse) -> None:
    land(lake, [delivery(NOW, "a", NOW)], "one")
    land(lake, [delivery(NOW, "lost", NOW)], "two", enriched=False)
    settle(lake, warehouse)

    assert pending.event_hours(lake) == []
    with pytest.raises(RedLedgerError, match="arrival hour 2026-11-20 10:00"):
        flatten(HOUR, find_event_hours([HOUR], lake)[HOUR], lake, warehouse)


def test_a_red_hour_that_lost_all_its_rows_empties_nothing(lake: DirectoryLake, warehouse: DuckDBWarehouse) -> None:
    land(lake, [delivery(NOW, "a", NOW)], "one")
    settle(lake, warehouse)
    flatten_pending(lake, warehouse)
    (landed,) = lake.list_hour(ENRICHED_LANDING.prefix, HOUR)
    landed.unlink()
    settle(lake, warehouse)

    assert pending.event_hours(lake) == []
    assert list(flattened(lake, HOUR)["click_id"]) == ["a"]


def test_an_event_40_days_late_changes_its_hour_and_its_day_alone(
    lake: DirectoryLake, warehouse: DuckDBWarehouse
) -> None:
    old = NOW - timedelta(days=40)
    land(lake, [delivery(NOW - timedelta(hours=hour), f"click-{hour}", NOW) for hour in range(30)], "one")
    land(lake, [delivery(old, "first", old)], "long ago")
    settle(lake, warehouse)
    flatten_pending(lake, warehouse)
    aggregate_pending(lake, warehouse)
    assert not pending.event_hours(lake)
    assert not pending.days(lake)

    land(lake, [delivery(old, "late", NOW)], "two")
    settle(lake, warehouse)

    assert flatten_pending(lake, warehouse) == [hour_of(old)]
    assert aggregate_pending(lake, warehouse)[0] == old.date()
    assert sorted(flattened(lake, hour_of(old))["click_id"]) == ["first", "late"]


@pytest.mark.parametrize("threads", [1, 4])
def test_equal_input_gives_equal_bytes(lake: DirectoryLake, warehouse: DuckDBWarehouse, threads: int) -> None:
    land(lake, [delivery(NOW, f"click-{i % 2_000}", NOW + timedelta(milliseconds=i)) for i in range(3_000)], "one")
    settle(lake, warehouse)
    flatten_pending(lake, warehouse)
    file = lake.path(partition_file(FLATTENED_EVENTS, HOUR))
    first = file.read_bytes()

    other = DuckDBWarehouse(100_000_000, lake.root / ".duckdb", threads)
    assert flatten(HOUR, find_event_hours([HOUR], lake)[HOUR], lake, other) == 2_000

    assert file.read_bytes() == first


def test_an_event_hour_that_lost_its_rows_is_emptied(lake: DirectoryLake, warehouse: DuckDBWarehouse) -> None:
    land(lake, [delivery(NOW, "a", NOW)], "one")
    settle(lake, warehouse)
    flatten_pending(lake, warehouse)
    for file in lake.root.glob("*/year=*/**/*"):
        if file.is_file() and "one" in file.name:
            file.unlink()
    land(lake, [delivery(NOW - timedelta(hours=1), "b", NOW)], "two")
    settle(lake, warehouse)

    assert flatten_pending(lake, warehouse) == [HOUR - timedelta(hours=1), HOUR]
    assert flattened(lake, HOUR).empty


CLICKS = st.lists(
    st.tuples(st.integers(0, 5), st.integers(0, 7200), st.sampled_from(["", "name:x", "name:x,place:y"])), max_size=40
)


@settings(max_examples=25)
@given(clicks=CLICKS)
def test_deduplication_agrees_with_pandas(
    tmp_path_factory: pytest.TempPathFactory, clicks: list[tuple[int, int, str]]
) -> None:
    folder = tmp_path_factory.mktemp("lake")
    lake, warehouse = DirectoryLake(folder), DuckDBWarehouse(100_000_000, folder / ".duckdb")
    deliveries = [_copy(index, *click) for index, click in enumerate(clicks)]
    land(lake, deliveries, "one")
    settle(lake, warehouse)
    flatten_pending(lake, warehouse)

    expected = pd.DataFrame(
        [
            (f"{d.arrival}", len(d.reasons), d.record_id, click)
            for d, (click, _, _) in zip(deliveries, clicks, strict=True)
        ],
        columns=["arrival", "reasons", "record_id", "click"],
    )
    kept = expected.sort_values(["arrival", "reasons", "record_id"]).drop_duplicates("click")["record_id"]
    found = flattened(lake, HOUR)["record_id"] if clicks else []
    assert sorted(found) == sorted(kept)


def _copy(index: int, click: int, after: int, reasons: str) -> Delivery:
    arrival = NOW + timedelta(seconds=after)
    copy = delivery(NOW - timedelta(seconds=click), f"click-{click}", arrival)
    return replace(copy, record_id=f"{index:032x}", reasons=tuple(filter(None, reasons.split(","))))


def test_the_articles_group_by_gives_the_counts_that_were_sent(lake: DirectoryLake, warehouse: DuckDBWarehouse) -> None:
    then = datetime(2021, 7, 12, 20, 24, 49, 536462, tzinfo=UTC)
    sent = {"Search": 3, "ViewContent": 2, "AddToCart": 4, "Purchase": 1}
    land(
        lake,
        [
            delivery(then, f"{name}-{number}", then + timedelta(seconds=1), event_name=name)
            for name, count in sent.items()
            for number in range(count)
        ],
        "one",
    )
    settle(lake, warehouse)
    flatten_pending(lake, warehouse)
    assert aggregate_pending(lake, warehouse) == [date(2021, 7, 12)]

    folder = "aggregated/events_by_country/date=2021-07-12"
    assert [file.name for file in lake.path(folder).iterdir()] == ["events_by_country.csv"]
    assert lake.path(f"{folder}/events_by_country.csv").read_text() == (
        "country|event_name|events\nUS|AddToCart|4\nUS|Purchase|1\nUS|Search|3\nUS|ViewContent|2\n"
    )
    by_type = lake.path("aggregated/events_by_type/date=2021-07-12/events_by_type.csv").read_text().splitlines()[1:]
    assert {name: int(count) for name, count in (line.split("|") for line in by_type)} == sent
