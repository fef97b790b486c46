"""Aggregates that count events: on input to check by hand, against plain pandas, and against what is flattened."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings

from resources.lake import DirectoryLake
from resources.warehouse import DuckDBWarehouse
from tests.clickstream_assets.aggregates import (
    Event,
    as_rows,
    event,
    flatten_events,
    in_pandas,
    over_all_days,
    random_events,
    unloaded,
)

RIVERSIDE = {"country": "US", "region": "California", "city": "Riverside"}
LONDON = {"country": "GB", "region": "England", "city": "London"}
NORTH, FURTHER = {"latitude": 33.9601, "longitude": -117.4}, {"latitude": 33.9602, "longitude": -117.4}
LAMP, DESK = {"product_id": 1, "price": Decimal("19.90")}, {"product_id": 2, "price": Decimal("250.00")}

# A day: three users in two cities and somewhere unknown, and what is not of the day.
EVENTS = [
    event("20", -0.001, "Purchase", **RIVERSIDE, **DESK),
    event("20", 0, "Search", **RIVERSIDE, name="Semyon Ryan", latitude=33.95, longitude=-117.4),
    event("20", 61, "ViewContent", **RIVERSIDE, **LAMP, **NORTH, time_on_data=10, percent_viewed=100.0),
    event("20", 62, "ViewContent", **RIVERSIDE, **LAMP, **FURTHER, time_on_data=15, percent_viewed=9.99),
    event("20", 63, "AddToCart", **RIVERSIDE, **LAMP, time_on_data=99),
    event("20", 64, "Purchase", **RIVERSIDE, **LAMP),
    event("35", 65, "Purchase", **RIVERSIDE, **LAMP, name="=1+1"),
    event("35", 119.99, "ViewContent", **LONDON, **DESK, latitude=51.5, longitude=-0.1),
    event("35", 120, "Purchase", **LONDON, **DESK),
    event("zoë|x", 1439, "Purchase"),
    event("20", 1440, "Search", **RIVERSIDE),
]

BY_HAND = {
    "events_by_type": """\
event_name|events
AddToCart|1
Purchase|4
Search|1
ViewContent|3
""",
    "events_by_country": """\
country|event_name|events
GB|Purchase|1
GB|ViewContent|1
US|AddToCart|1
US|Purchase|2
US|Search|1
US|ViewContent|2
|Purchase|1
""",
    "events_by_region": """\
country|region|events|searches|views|add_to_carts|purchases|users|revenue
GB|England|2|0|1|0|1|1|250.00
US|California|6|1|2|1|2|2|39.80
||1|0|0|0|1|1|0.00
""",
    "events_by_city": """\
country|region|city|events|searches|views|add_to_carts|purchases|latitude|longitude
GB|England|London|2|0|1|0|1|51.5|-0.1
US|California|Riverside|6|1|2|1|2|33.956766|-117.4
|||1|0|0|0|1||
""",
    "events_by_hour": """\
hour|event_name|events|revenue
2026-11-20 00:00:00|Search|1|0.00
2026-11-20 01:00:00|AddToCart|1|0.00
2026-11-20 01:00:00|Purchase|2|39.80
2026-11-20 01:00:00|ViewContent|3|0.00
2026-11-20 02:00:00|Purchase|1|250.00
2026-11-20 23:00:00|Purchase|1|0.00
""",
    "top_regions": """\
rank|country|region|events
1|US|California|6
2|GB|England|2
""",
    "actions_by_customer": """\
user_id|name|searches|views|add_to_carts|purchases|events|revenue|first_seen|last_seen
20|Semyon Ryan|1|2|1|1|5|19.90|2026-11-20 00:00:00|2026-11-20 01:04:00
35|'=1+1|0|1|0|2|3|269.90|2026-11-20 01:05:00|2026-11-20 02:00:00
"zoë|x"||0|0|0|1|1|0.00|2026-11-20 23:59:00|2026-11-20 23:59:00
""",
    "product_performance": """\
product_id|views|timed_views|time_on_views|average_time_on_view|add_to_carts|purchases|revenue|events
1|2|2|25|12.5|1|2|39.80|5
2|1|0|0||0|1|250.00|2
|0|0|0||0|1|0.00|2
""",
    "views_by_depth": """\
depth|views
0|1
100|1
|1
""",
}


@pytest.mark.parametrize("name", BY_HAND)
def test_a_day_is_as_counted_by_hand(lake: DirectoryLake, warehouse: DuckDBWarehouse, name: str) -> None:
    flatten_events(lake, EVENTS)
    assert unloaded(lake, warehouse, name) == BY_HAND[name]


def test_regions_that_are_as_busy_are_ranked_by_name_and_ten_are_kept(
    lake: DirectoryLake, warehouse: DuckDBWarehouse
) -> None:
    flatten_events(lake, [event("20", number, country="US", region=f"R{number % 12:02}") for number in range(26)])
    ranked = [line.split("|") for line in unloaded(lake, warehouse, "top_regions").splitlines()[1:]]
    assert [row[0] for row in ranked] == [str(rank) for rank in range(1, 11)]
    assert [row[2] for row in ranked] == ["R00", "R01", *(f"R{number:02}" for number in range(2, 10))]
    assert [row[3] for row in ranked] == ["3", "3", *["2"] * 8]


def test_coordinates_are_read_without_the_tails_of_binary_fractions(
    lake: DirectoryLake, warehouse: DuckDBWarehouse
) -> None:
    """15.4667 cannot be added up exactly: fifty of them, divided by fifty, are 15.466700000000001."""
    flatten_events(lake, [event("20", 1, latitude=15.4667, longitude=-70.1997) for _ in range(50)])
    assert unloaded(lake, warehouse, "events_by_city").splitlines()[1] == "|||50|50|0|0|0|15.4667|-70.1997"


Row = tuple[Any, ...]


def revenue(some: pd.DataFrame) -> Decimal:
    prices = some.loc[some["event_name"] == "Purchase", "price"].dropna()
    return sum(prices, Decimal("0.00"))


def actions(some: pd.DataFrame) -> list[int]:
    counts = some["event_name"].value_counts()
    return [int(counts.get(name, 0)) for name in ("Search", "ViewContent", "AddToCart", "Purchase")]


def mean(degrees: pd.Series) -> float | None:
    """Cut to millionths, as the table has it."""
    millionths = [round(Decimal(str(value)) * 1_000_000) for value in degrees.dropna()]
    return int(Decimal(sum(millionths)) / len(millionths)) / 1_000_000 if millionths else None


def of_product(some: pd.DataFrame) -> list[Any]:
    _, views, add_to_carts, purchases = actions(some)
    times = some.loc[some["event_name"] == "ViewContent", "time_on_data"].dropna()
    seconds = int(times.sum())
    average = float(Decimal(seconds)) / len(times) if len(times) else None
    return [views, len(times), seconds, average, add_to_carts, purchases, revenue(some), len(some)]


def grouped(*keys: str, measure: Callable[[pd.DataFrame], list[Any]]) -> Callable[[pd.DataFrame], list[Row]]:
    """Rows of keys, what is measured of each group, and the day."""

    def rows(events: pd.DataFrame) -> list[Row]:
        found = events.groupby([*keys, "date"], dropna=False)
        return [(*of_group[:-1], *measure(some), of_group[-1]) for of_group, some in found]

    return rows


def ranked_regions(events: pd.DataFrame) -> list[Row]:
    rows = []
    for day, some in events.dropna(subset=["region"]).groupby("date"):
        counts = some.fillna({"country": ""}).groupby(["region", "country"]).size().reset_index(name="events")
        busiest = counts.sort_values(["events", "region", "country"], ascending=[False, True, True]).head(10)
        rows += [
            (rank, row.country, row.region, row.events, day) for rank, row in enumerate(busiest.itertuples(), start=1)
        ]
    return rows


IN_PANDAS = {
    "events_by_type": grouped("event_name", measure=lambda some: [len(some)]),
    "events_by_country": grouped("country", "event_name", measure=lambda some: [len(some)]),
    "events_by_region": grouped(
        "country",
        "region",
        measure=lambda some: [len(some), *actions(some), some["user_id"].nunique(), revenue(some)],
    ),
    "events_by_city": grouped(
        "country",
        "region",
        "city",
        measure=lambda some: [len(some), *actions(some), mean(some["latitude"]), mean(some["longitude"])],
    ),
    "events_by_hour": grouped("hour", "event_name", measure=lambda some: [len(some), revenue(some)]),
    "top_regions": ranked_regions,
    "actions_by_customer": grouped(
        "user_id",
        measure=lambda some: [
            max(some["name"].dropna(), default=None),
            *actions(some),
            len(some),
            revenue(some),
            some["event_timestamp"].min(),
            some["event_timestamp"].max(),
        ],
    ),
    "product_performance": grouped("product_id", measure=of_product),
    "views_by_depth": lambda events: grouped("depth", measure=lambda some: [len(some)])(
        events[events["event_name"] == "ViewContent"].assign(
            depth=lambda views: [None if pd.isna(seen) else seen // 10 * 10 for seen in views["percent_viewed"]]
        )
    ),
}
EVERY_EVENT_ONCE = IN_PANDAS.keys() - {"top_regions", "views_by_depth"}


@pytest.mark.parametrize("name", IN_PANDAS)
@settings(max_examples=20)
@given(events=random_events())
def test_random_events_agree_with_pandas(
    tmp_path_factory: pytest.TempPathFactory, name: str, events: list[Event]
) -> None:
    found = over_all_days(tmp_path_factory.mktemp("lake"), name, events)
    assert as_rows(found.to_numpy()) == as_rows(IN_PANDAS[name](in_pandas(events)))
    if name in EVERY_EVENT_ONCE:
        assert found["events"].sum() == len(events)
