"""The dashboard's panels, declared once: the web page and QuickSight's definition are made from this list."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

# How an event type is called in tables that have a column for each.
ACTIONS = {"Search": "searches", "ViewContent": "views", "AddToCart": "add_to_carts", "Purchase": "purchases"}
ACTION_COLUMNS = tuple(ACTIONS.values())


class Kind(StrEnum):
    """How a panel is drawn."""

    TILE = "tile"
    TIME = "time"
    DONUT = "donut"
    FUNNEL = "funnel"
    STATES = "states"
    POINTS = "points"
    BARS = "bars"
    HEAT = "heat"
    TABLE = "table"


@dataclass(frozen=True)
class Panel:
    """One panel: what it shows of which table, and which filters it follows.

    Attributes:
        dimension: what a mark stands for; empty: all days together.
        measures: what is shown of it.
        colour: a second dimension, shown as colour.
        note: what a reader must know to read it right.
        by_event_type, by_date: whether it follows the filter of event types, and that of dates.
        over_days: how days make one number: their sum, their mean, or the first measure's sum by the second's.
        width: columns of twelve that it takes on a wide screen.
    """

    name: str
    kind: Kind
    title: str
    table: str
    dimension: tuple[str, ...] = ()
    measures: tuple[str, ...] = ("events",)
    colour: str = ""
    note: str = ""
    by_event_type: bool = False
    by_date: bool = True
    over_days: Literal["sum", "mean", "ratio"] = "sum"
    width: int = 12


@dataclass(frozen=True)
class Source:
    """What the page holds of a table: sums of additive measures, by key and step of time.

    Attributes:
        labels: columns that say more of a key; the newest day's value.
        step: a row is of a day, of an hour, or of all days together.
        most: how many keys to hold, the first by `rank_by` over the whole period; the others add up to one. 0: all.
        most_days: how many of the newest days to hold.
    """

    table: str
    keys: tuple[str, ...]
    measures: tuple[str, ...]
    labels: tuple[str, ...] = ()
    step: Literal["day", "hour", "all"] = "day"
    rank_by: str = ""
    most: int = 0
    most_days: int = 400


PANELS: tuple[Panel, ...] = (
    Panel("events", Kind.TILE, "Events", "events_by_type", by_event_type=True),
    Panel("users", Kind.TILE, "Users", "daily_active_users", measures=("users",), over_days="mean"),
    Panel("purchases", Kind.TILE, "Purchases", "events_by_region", measures=("purchases",)),
    Panel("revenue", Kind.TILE, "Revenue", "events_by_region", measures=("revenue",)),
    Panel(
        "conversion",
        Kind.TILE,
        "Conversion",
        "hourly_funnel",
        measures=("buyers", "viewers"),
        over_days="ratio",
        note="viewers who carted, then bought, the same day",
    ),
    Panel(
        "time",
        Kind.TIME,
        "Events over time",
        "events_by_hour",
        ("hour",),
        colour="event_name",
        by_event_type=True,
        width=8,
    ),
    Panel("types", Kind.DONUT, "Event types", "events_by_type", ("event_name",), by_event_type=True, width=4),
    Panel(
        "funnel",
        Kind.FUNNEL,
        "From view to purchase",
        "hourly_funnel",
        measures=("viewers", "carters", "buyers"),
        note="Users who viewed, then put in a cart, then bought, on one day. A user counts once on each day.",
        width=4,
    ),
    Panel("sales", Kind.TIME, "Revenue over time", "events_by_hour", ("hour",), measures=("revenue",), width=8),
    Panel(
        "states",
        Kind.STATES,
        "Events by US state",
        "events_by_region",
        ("region",),
        by_event_type=True,
        width=8,
    ),
    Panel(
        "regions",
        Kind.BARS,
        "Top 10 regions",
        "events_by_region",
        ("region", "country"),
        by_event_type=True,
        width=4,
    ),
    Panel(
        "cities",
        Kind.POINTS,
        "Events by city",
        "events_by_city",
        ("city", "region", "country"),
        by_event_type=True,
    ),
    Panel(
        "retention",
        Kind.HEAT,
        "Weekly retention",
        "cohort_retention",
        ("cohort_week", "week"),
        measures=("users",),
        note="Of the users first seen in a week, the share seen again in later weeks. The newest week is not over yet.",
        by_date=False,
    ),
    Panel(
        "products",
        Kind.BARS,
        "Revenue by product",
        "product_performance",
        ("product_id",),
        measures=("revenue",),
        width=6,
    ),
    Panel("pixels", Kind.BARS, "Revenue by pixel", "revenue_by_pixel", ("pixel_id",), measures=("revenue",), width=6),
    Panel(
        "customers",
        Kind.TABLE,
        "Actions by customer",
        "actions_by_customer",
        ("user_id", "name"),
        measures=(*ACTION_COLUMNS, "events", "revenue"),
        note="Events are of the types selected; every other column counts its own.",
        by_event_type=True,
    ),
)

SOURCES: tuple[Source, ...] = (
    Source("events_by_type", ("event_name",), ("events",)),
    Source("events_by_hour", ("event_name",), ("events", "revenue"), step="hour", most_days=62),
    Source("events_by_region", ("country", "region"), (*ACTION_COLUMNS, "revenue"), rank_by="events", most=800),
    Source(
        "events_by_city",
        ("country", "region", "city"),
        ACTION_COLUMNS,
        labels=("latitude", "longitude"),
        rank_by="events",
        most=1_500,
    ),
    Source(
        "actions_by_customer",
        ("user_id",),
        (*ACTION_COLUMNS, "revenue"),
        labels=("name",),
        rank_by="events",
        most=1_200,
    ),
    Source("product_performance", ("product_id",), ("purchases", "revenue"), rank_by="revenue", most=400),
    Source("revenue_by_pixel", ("pixel_id",), ("purchases", "revenue"), rank_by="revenue", most=100),
    Source("hourly_funnel", (), ("viewers", "carters", "buyers")),
    Source("daily_active_users", (), ("users", "users_7_days", "users_30_days")),
    Source("new_and_returning_users", (), ("new_users",)),
    Source("cohort_retention", ("cohort_week", "week"), ("users",), step="all", most_days=182),
)
