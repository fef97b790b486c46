"""The aggregates of a day as an analyst would compute them: with pandas, from the same Parquet files.

The needed columns are read once, in the types that pandas gives them: text is Arrow's, prices are decimals of Python's.
"""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path

import pandas as pd

COLUMNS = [
    "event_timestamp", "user_id", "pixel_id", "event_name", "time_on_data", "percent_viewed", "product_id",
    "price", "name", "country", "region", "city", "latitude", "longitude",
]  # fmt: skip
ACTIONS = {"Search": "searches", "ViewContent": "views", "AddToCart": "add_to_carts", "Purchase": "purchases"}
PAUSE = timedelta(minutes=30)


def unload_with_pandas(flattened: Sequence[Path], prices: Path, day: datetime, folder: Path) -> None:
    """Write `<name>.csv` for every aggregate of a day; the files may hold more days than that."""
    events = _read(flattened)
    of_day = events[(events["event_timestamp"] >= day) & (events["event_timestamp"] < day + timedelta(days=1))]
    for aggregate in (
        events_by_type, events_by_country, events_by_region, events_by_city, events_by_hour, top_regions,
        actions_by_customer, hourly_funnel, product_performance, views_by_depth, sessions,
    ):  # fmt: skip
        aggregate(of_day).to_csv(folder / f"{aggregate.__name__}.csv", sep="|", index=False)
    over_days: Sequence[Callable[[pd.DataFrame, datetime], pd.DataFrame]] = (
        daily_active_users, new_and_returning_users, cohort_retention,
    )  # fmt: skip
    for over in over_days:
        over(events, day).to_csv(folder / f"{over.__name__}.csv", sep="|", index=False)
    pixels = revenue_by_pixel(of_day, pd.read_parquet(prices))
    pixels.to_csv(folder / "revenue_by_pixel.csv", sep="|", index=False)


def events_by_type(events: pd.DataFrame) -> pd.DataFrame:
    return events.groupby("event_name", dropna=False).size().reset_index(name="events")


def events_by_country(events: pd.DataFrame) -> pd.DataFrame:
    return events.groupby(["country", "event_name"], dropna=False).size().reset_index(name="events")


def events_by_region(events: pd.DataFrame) -> pd.DataFrame:
    return _with_actions(events, ["country", "region"], users=("user_id", "nunique"), revenue=("revenue", "sum"))


def events_by_city(events: pd.DataFrame) -> pd.DataFrame:
    degrees = {"latitude": ("latitude", "mean"), "longitude": ("longitude", "mean")}
    return _with_actions(events, ["country", "region", "city"], **degrees)


def events_by_hour(events: pd.DataFrame) -> pd.DataFrame:
    hour = events["event_timestamp"].dt.floor("h").rename("hour")
    groups = events.groupby([hour, "event_name"])
    return groups.agg(events=("event_name", "size"), revenue=("revenue", "sum")).reset_index()


def top_regions(events: pd.DataFrame) -> pd.DataFrame:
    regions = events.groupby(["country", "region"]).size().reset_index(name="events")
    first = regions.sort_values(["events", "region", "country"], ascending=[False, True, True]).head(10)
    return first.assign(rank=range(1, len(first) + 1))[["rank", "country", "region", "events"]]


def actions_by_customer(events: pd.DataFrame) -> pd.DataFrame:
    return _with_actions(
        events,
        ["user_id"],
        name=("name", "max"),
        revenue=("revenue", "sum"),
        first_seen=("event_timestamp", "min"),
        last_seen=("event_timestamp", "max"),
    )


def hourly_funnel(events: pd.DataFrame) -> pd.DataFrame:
    views = events[events["views"]].groupby("user_id")["event_timestamp"].min().rename("viewed").reset_index()
    carts = _after(events[events["add_to_carts"]], views, "viewed", "carted")
    buys = _after(events[events["purchases"]], carts, "carted", "bought")
    users = views.merge(carts, how="left", on="user_id").merge(buys, how="left", on="user_id")
    hours = users.groupby(users["viewed"].dt.floor("h").rename("hour"))
    funnel = hours.agg(
        viewers=("viewed", "count"), carters=("carted", "count"), buyers=("bought", "count")
    ).reset_index()
    funnel["view_to_cart"] = funnel["carters"] / funnel["viewers"]
    funnel["cart_to_purchase"] = funnel["buyers"] / funnel["carters"].where(funnel["carters"] > 0)
    funnel["conversion"] = funnel["buyers"] / funnel["viewers"]
    return funnel.reset_index()


def product_performance(events: pd.DataFrame) -> pd.DataFrame:
    timed = events.assign(time_on_views=events["time_on_data"].where(events["views"], 0).fillna(0))
    timed["timed_views"] = events["views"] & events["time_on_data"].notna()
    products = _with_actions(
        timed,
        ["product_id"],
        timed_views=("timed_views", "sum"),
        time_on_views=("time_on_views", "sum"),
        revenue=("revenue", "sum"),
    ).drop(columns="searches")
    products["average_time_on_view"] = products["time_on_views"] / products["timed_views"].where(
        products["timed_views"] > 0
    )
    return products


def views_by_depth(events: pd.DataFrame) -> pd.DataFrame:
    depth = (events.loc[events["views"], "percent_viewed"] // 10 * 10).astype("int64").rename("depth")
    views: pd.DataFrame = depth.groupby(depth).size().reset_index(name="views")
    return views


def sessions(events: pd.DataFrame) -> pd.DataFrame:
    """Without the cut after 24 hours, which no visit of this day lasts."""
    ordered = events.sort_values(["user_id", "event_timestamp", "event_name"])
    begins = ordered.groupby("user_id")["event_timestamp"].diff().gt(PAUSE)
    visit = begins.groupby(ordered["user_id"]).cumsum().rename("visit")
    found = (
        ordered.groupby(["user_id", visit])
        .agg(
            session_start=("event_timestamp", "min"),
            session_end=("event_timestamp", "max"),
            events=("event_name", "size"),
            entry_action=("event_name", "first"),
            exit_action=("event_name", "last"),
            converted=("purchases", "max"),
        )
        .reset_index()
    )
    seconds = found["session_end"].dt.floor("s") - found["session_start"].dt.floor("s")
    found["duration_seconds"] = seconds.dt.total_seconds().astype("int64")
    return found.astype({"converted": "int64"}).drop(columns="visit")


def daily_active_users(events: pd.DataFrame, day: datetime) -> pd.DataFrame:
    seen = events[events["event_timestamp"] < day + timedelta(days=1)]
    users, week, month = (
        seen.loc[seen["event_timestamp"] >= day - timedelta(days=days), "user_id"].nunique() for days in (0, 6, 29)
    )
    return pd.DataFrame(
        {"users": [users], "users_7_days": [week], "users_30_days": [month], "stickiness": [users / month]}
    )


def new_and_returning_users(events: pd.DataFrame, day: datetime) -> pd.DataFrame:
    seen = events[events["event_timestamp"] < day + timedelta(days=1)].groupby("user_id")["event_timestamp"]
    first, last = seen.min(), seen.max()
    users, new = (last >= day).sum(), (first >= day).sum()
    return pd.DataFrame({"users": [users], "new_users": [new], "returning_users": [users - new]})


def cohort_retention(events: pd.DataFrame, day: datetime) -> pd.DataFrame:
    monday = pd.Timestamp(day - timedelta(days=day.weekday()))
    seen = events[events["event_timestamp"] < day + timedelta(days=1)]
    first = seen.groupby("user_id")["event_timestamp"].min()
    this_week = seen[seen["event_timestamp"] >= monday].groupby("user_id")["event_timestamp"].min()
    cohort = first[this_week[this_week >= day].index].dt.normalize()
    cohort_week = (cohort - pd.to_timedelta(cohort.dt.weekday, unit="D")).rename("cohort_week")
    users: pd.DataFrame = cohort_week.groupby(cohort_week).size().reset_index(name="users")
    users["week"] = (monday - users["cohort_week"]).dt.days // 7
    return users


def revenue_by_pixel(events: pd.DataFrame, prices: pd.DataFrame) -> pd.DataFrame:
    by_user = prices.set_index(prices["customer_id"].astype(str))["price_per_click"]
    priced = events.assign(price_per_click=events["user_id"].map(by_user))
    pixels: pd.DataFrame = priced.groupby("pixel_id", dropna=False).agg(
        clicks=("event_name", "size"),
        priced_clicks=("price_per_click", "count"),
        click_cost=("price_per_click", "sum"),
        purchases=("purchases", "sum"),
        revenue=("revenue", "sum"),
    )
    return pixels.reset_index()


def _read(files: Sequence[Path]) -> pd.DataFrame:
    events = pd.concat([pd.read_parquet(file, columns=COLUMNS) for file in files], ignore_index=True)
    for action, column in ACTIONS.items():
        events[column] = events["event_name"] == action
    events["revenue"] = events["price"].where(events["purchases"])
    return events


def _with_actions(events: pd.DataFrame, keys: list[str], **more: tuple[str, str]) -> pd.DataFrame:
    counts = {column: (column, "sum") for column in ACTIONS.values()}
    found: pd.DataFrame = events.groupby(keys, dropna=False).agg(events=("event_name", "size"), **counts, **more)
    return found.reset_index()


def _after(acts: pd.DataFrame, users: pd.DataFrame, since: str, moment: str) -> pd.DataFrame:
    """When each of the users first acted at or after their moment `since`."""
    joined = acts[["user_id", "event_timestamp"]].merge(users[["user_id", since]], on="user_id")
    later = joined[joined["event_timestamp"] >= joined[since]]
    return later.groupby("user_id")["event_timestamp"].min().rename(moment).reset_index()
