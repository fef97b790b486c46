"""Views of all time and of the last 30 days."""

from datetime import UTC, date, datetime
from decimal import Decimal

import duckdb
import pytest
from hypothesis import given, settings

from clickstream_assets.aggregates.registry import AGGREGATES
from clickstream_assets.catalog import CATALOGUED, ROLLED_UP
from resources.catalog import DuckDBCatalog
from resources.lake import DirectoryLake
from resources.warehouse import DuckDBWarehouse
from tests.clickstream_assets.aggregates import (
    MIDNIGHT,
    Event,
    as_rows,
    asked,
    event,
    flatten_events,
    in_pandas,
    over_all_days,
    random_events,
)
from tests.clickstream_assets.layers import aggregate_pending
from tests.clickstream_assets.test_aggregates_events import IN_PANDAS

RIVERSIDE = {"country": "US", "region": "California", "city": "Riverside"}


def test_every_aggregate_that_rolls_up_has_both_documented(lake: DirectoryLake) -> None:
    catalog = DuckDBCatalog(lake.root / "catalog.duckdb", lake)
    refreshed = catalog.refresh(CATALOGUED, ROLLED_UP)
    with duckdb.connect(catalog.file, read_only=True) as connection:
        shown = {name for (name,) in connection.execute("SHOW TABLES").fetchall()}
        found = connection.execute(
            "SELECT table_name, column_name, data_type, comment FROM duckdb_columns() "
            "WHERE table_name LIKE '%_all_time' OR table_name LIKE '%_last_30_days'"
        ).fetchall()
    assert shown == set(refreshed.views)
    expected = [
        (f"{aggregate.name}_{span}", column.name, column.type, column.comment)
        for aggregate in AGGREGATES
        for span in ("all_time", *(["last_30_days"] if aggregate.name != "cohort_retention" else []))
        if any(measure.over_days for measure in aggregate.measures)
        for column in (*aggregate.keys, *(measure for measure in aggregate.measures if measure.over_days))
    ]
    assert sorted(found) == sorted(expected)
    without = {aggregate.name for aggregate in AGGREGATES} - {name.removesuffix("_all_time") for name, *_ in found}
    assert without == {"top_regions", "sessions", "daily_active_users"}


def test_they_add_up_days(lake: DirectoryLake, warehouse: DuckDBWarehouse) -> None:
    today = (datetime.now(UTC).date() - MIDNIGHT.date()).days * 1440
    flatten_events(
        lake,
        [
            event("7", today - 30 * 1440, "Purchase", **RIVERSIDE, price=Decimal("5.00"), latitude=10.0),
            *(event("7", today - 29 * 1440 + minute, **RIVERSIDE, latitude=33.0) for minute in (0, 1, 2)),
            event("7", today, "ViewContent", **RIVERSIDE, product_id=1, time_on_data=3, latitude=37.4),
            event("20", today, "ViewContent", **RIVERSIDE, product_id=1, latitude=37.4),
            event("20", today + 1, "AddToCart", product_id=1),
        ],
    )
    aggregate_pending(lake, warehouse)

    def ask(name: str, columns: str, span: str) -> list[tuple[object, ...]]:
        frame = asked(lake.root, name, f"SELECT {columns} FROM {name}_{span} ORDER BY ALL NULLS LAST")
        return [tuple(row) for row in frame.to_numpy().tolist()]

    assert ask("events_by_type", "*", "last_30_days") == [("AddToCart", 1), ("Search", 3), ("ViewContent", 2)]
    assert ("Purchase", 1) in ask("events_by_type", "*", "all_time")
    city = "city, events, latitude"
    assert ask("events_by_city", city, "last_30_days") == [("Riverside", 5, 34.76), (None, 1, None)]
    assert ask("events_by_city", city, "all_time")[0] == ("Riverside", 6, 30.633333)
    assert ask("product_performance", "views, average_time_on_view", "last_30_days") == [(0, None), (2, 3.0)]
    funnel = "SUM(viewers)::INT, SUM(carters)::INT, MAX(view_to_cart), MAX(cart_to_purchase)"
    assert ask("hourly_funnel", funnel, "all_time") == [(2, 1, 0.5, 0.0)]
    assert ask("new_and_returning_users", "*", "all_time") == [(2,)]
    assert ask("actions_by_customer", "user_id, events, revenue", "all_time") == [
        ("20", 2, Decimal("0.00")),
        ("7", 5, Decimal("5.00")),
    ]


def test_a_customer_of_many_days_has_the_newest_name(lake: DirectoryLake, warehouse: DuckDBWarehouse) -> None:
    names = {0: "Zoe", 1440: "Amy", 2880: None}
    flatten_events(lake, [event("20", minute, name=name) for minute, name in names.items()])
    aggregate_pending(lake, warehouse)
    found = asked(lake.root, "actions_by_customer", "SELECT name, events FROM actions_by_customer_all_time")
    assert found.to_numpy().tolist() == [["Amy", 3]]


@pytest.mark.parametrize(
    "name", ["events_by_type", "events_by_country", "events_by_hour", "actions_by_customer", "product_performance"]
)
@settings(max_examples=8)
@given(events=random_events())
def test_all_time_is_what_one_long_day_would_be(
    tmp_path_factory: pytest.TempPathFactory, name: str, events: list[Event]
) -> None:
    folder = tmp_path_factory.mktemp("lake")
    events = [each | {"name": "Ada"} for each in events]  # of many days the newest, of one the last by the alphabet
    over_all_days(folder, name, events)
    found = asked(folder, name, f"SELECT *, DATE '2026-11-20' AS date FROM {name}_all_time")
    assert as_rows(found.to_numpy()) == as_rows(IN_PANDAS[name](in_pandas(events).assign(date=date(2026, 11, 20))))
