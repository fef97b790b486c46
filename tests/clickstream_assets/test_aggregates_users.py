"""Aggregates that count users: on input to check by hand, against plain pandas, and by what must hold between them."""

from datetime import timedelta
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings

from clickstream_assets.aggregates.dependence import FlattenedDays
from resources.lake import DirectoryLake
from resources.warehouse import DuckDBWarehouse
from tests.clickstream_assets.aggregates import (
    DAY,
    Event,
    as_rows,
    event,
    flatten_events,
    in_pandas,
    over_all_days,
    random_events,
    unloaded,
)

Row = tuple[Any, ...]


def days(lake: DirectoryLake, warehouse: DuckDBWarehouse, name: str) -> dict[int, list[str]]:
    """The lines of every day that has events, by its distance from DAY."""
    return {(day - DAY).days: unloaded(lake, warehouse, name, day).splitlines()[1:] for day in FlattenedDays(lake).days}


def test_users_are_counted_where_they_first_viewed_and_only_in_this_order(
    lake: DirectoryLake, warehouse: DuckDBWarehouse
) -> None:
    flatten_events(
        lake,
        [
            *(
                event("buyer", minute, name)
                for minute, name in ((5, "ViewContent"), (70, "AddToCart"), (70, "Purchase"))
            ),
            *(event("buyer", minute, "ViewContent") for minute in (10, 65)),  # counted already
            *(event("carter", minute, name) for minute, name in ((59, "ViewContent"), (300, "AddToCart"))),
            *(event("tomorrow", minute, name) for minute, name in ((30, "ViewContent"), (1440, "AddToCart"))),
            *(event("hasty", minute, name) for minute, name in ((61, "AddToCart"), (62, "ViewContent"))),
            *(event("direct", minute, name) for minute, name in ((63, "ViewContent"), (64, "Purchase"))),
            event("searcher", 64, "Search"),
        ],
    )
    assert unloaded(lake, warehouse, "hourly_funnel") == (
        "hour|viewers|carters|buyers|view_to_cart|cart_to_purchase|conversion\n"
        "2026-11-20 00:00:00|3|2|1|0.6666666666666666|0.5|0.3333333333333333\n"
        "2026-11-20 01:00:00|2|0|0|0.0||0.0\n"
    )
    assert days(lake, warehouse, "hourly_funnel")[1] == []


def test_active_users_of_a_day_a_week_and_thirty_days(lake: DirectoryLake, warehouse: DuckDBWarehouse) -> None:
    seen = {"now": [0, 0], "a week": [-6], "eight days": [-7], "thirty days": [-29], "before": [-30], "later": [1]}
    flatten_events(lake, [event(user, each * 1440 + 1) for user, some in seen.items() for each in some])
    assert unloaded(lake, warehouse, "daily_active_users") == (
        "users|users_7_days|users_30_days|stickiness\n1|2|4|0.25\n"
    )
    assert days(lake, warehouse, "daily_active_users") == {
        -30: ["1|1|1|1.0"],
        -29: ["1|2|2|0.5"],
        -7: ["1|1|3|0.3333333333333333"],
        -6: ["1|2|4|0.25"],
        0: ["1|2|4|0.25"],
        1: ["1|2|4|0.25"],
    }


def test_new_users_are_those_never_seen_before(lake: DirectoryLake, warehouse: DuckDBWarehouse) -> None:
    seen = {"old": [-40 * 1440, 10], "gone": [-10], "new": [5, 6, 1500]}
    flatten_events(lake, [event(user, minute) for user, some in seen.items() for minute in some])
    assert unloaded(lake, warehouse, "new_and_returning_users") == "users|new_users|returning_users\n2|1|1\n"
    assert days(lake, warehouse, "new_and_returning_users") == {
        -40: ["1|1|0"],
        -1: ["1|1|0"],
        0: ["2|1|1"],
        1: ["1|0|1"],
    }


def test_who_comes_back_counts_once_a_week_from_monday_on(lake: DirectoryLake, warehouse: DuckDBWarehouse) -> None:
    """DAY is a Friday: three days later a week begins, and a year of 53 weeks ends."""
    seen = {
        "keen": [-4, -3, 0, 2, 3],
        "weekly": [0, 7, 14],
        "new": [3],
        "late": [3 + 52 * 7],
        "returns": [0, 3 + 52 * 7],
    }
    flatten_events(lake, [event(user, each * 1440) for user, some in seen.items() for each in some])
    assert unloaded(lake, warehouse, "cohort_retention") == "cohort_week|week|users\n2026-11-16|0|2\n"
    assert days(lake, warehouse, "cohort_retention") == {
        -4: ["2026-11-16|0|1"],
        -3: [],
        0: ["2026-11-16|0|2"],
        2: [],
        3: ["2026-11-16|1|1", "2026-11-23|0|1"],
        7: ["2026-11-16|1|1"],
        14: ["2026-11-16|2|1"],
        3 + 52 * 7: ["2026-11-16|53|1", "2027-11-22|0|1"],
    }


def funnel(events: pd.DataFrame) -> list[Row]:
    """User by user of a day: the first view, the first cart since, a purchase since."""
    steps = []
    for (day, _), some in events.groupby(["date", "user_id"]):
        views = some[some["event_name"] == "ViewContent"]["event_timestamp"]
        if views.empty:
            continue
        carts = some[(some["event_name"] == "AddToCart") & (some["event_timestamp"] >= views.min())]["event_timestamp"]
        buys = some[(some["event_name"] == "Purchase") & (some["event_timestamp"] >= carts.min())]
        hour = views.min().replace(minute=0, second=0, microsecond=0)
        steps.append((day, hour, 1, int(not carts.empty), int(not carts.empty and not buys.empty)))
    by_hour = pd.DataFrame(steps, columns=["date", "hour", "viewers", "carters", "buyers"]).groupby(["date", "hour"])
    return [
        (
            hour,
            viewers,
            carters,
            buyers,
            carters / viewers,
            buyers / carters if carters else None,
            buyers / viewers,
            day,
        )
        for (day, hour), (viewers, carters, buyers) in zip(
            by_hour.groups, by_hour.sum().to_numpy().tolist(), strict=True
        )
    ]


def active(events: pd.DataFrame) -> list[Row]:
    rows = []
    for day, some in events.groupby("date"):

        def within(width: int, day: Any = day) -> int:
            since = day - timedelta(days=width - 1)
            return int(events[(events["date"] >= since) & (events["date"] <= day)]["user_id"].nunique())

        users = some["user_id"].nunique()
        rows.append((users, within(7), within(30), users / within(30), day))
    return rows


def new_and_returning(events: pd.DataFrame) -> list[Row]:
    first = events.groupby("user_id")["date"].min()
    rows = []
    for day, some in events.groupby("date"):
        users = some["user_id"].unique()
        new = sum(first[user] == day for user in users)
        rows.append((len(users), new, len(users) - new, day))
    return rows


def monday(day: Any) -> Any:
    return day - timedelta(days=day.weekday())


def retention(events: pd.DataFrame) -> list[Row]:
    first = events.groupby("user_id")["date"].min().map(monday)
    weekly = events.assign(week=events["date"].map(monday)).groupby(["user_id", "week"])["date"].min().reset_index()
    weekly["cohort"] = weekly["user_id"].map(first)
    return [
        (cohort, (week - cohort).days // 7, len(users), day)
        for (day, week, cohort), users in weekly.groupby(["date", "week", "cohort"])
    ]


IN_PANDAS = {
    "hourly_funnel": funnel,
    "daily_active_users": active,
    "new_and_returning_users": new_and_returning,
    "cohort_retention": retention,
}


@pytest.mark.parametrize("name", IN_PANDAS)
@settings(max_examples=15)
@given(events=random_events(days=(-30, -29, -6, -1, 0, 3)))
def test_random_events_agree_with_pandas(
    tmp_path_factory: pytest.TempPathFactory, name: str, events: list[Event]
) -> None:
    found = over_all_days(tmp_path_factory.mktemp("lake"), name, events)
    assert as_rows(found.to_numpy()) == as_rows(IN_PANDAS[name](in_pandas(events)) if events else [])
