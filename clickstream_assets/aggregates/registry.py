"""The registry of aggregates. A new one takes `sql/aggregates/<name>.sql` and a row here."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

from clickstream_assets.aggregates.dependence import Dependence
from streaming.domain.tables import CUSTOMER_PRICES, Column, Table


@dataclass(frozen=True)
class Measure(Column):
    """A column that is measured. `over_days`: how SQL rolls days of it up; empty where days cannot tell it."""

    over_days: str = ""


class Invariant(NamedTuple):
    """What holds of every `period`: what SQL has `measured` of an aggregate's rows, compared with what is `counted` of
    flattened events, or with zero: `nothing`."""

    measured: str
    relation: Literal["=", "<="]
    counted: Literal["events", "users", "nothing"]
    period: Literal["day", "week", "all"] = "day"


@dataclass(frozen=True)
class Aggregate:
    """One aggregate: what a row stands for, its keys, what is measured for each, and what a day of it depends on.

    `invariants`: what `./run verify` holds it to. `also_reads`: tables that a day of it reads beside flattened events,
    the day's partition of each.
    """

    name: str
    grain: str
    description: str
    keys: tuple[Column, ...]
    measures: tuple[Measure, ...]
    example: str
    invariants: tuple[Invariant, ...]
    depends_on: Dependence = Dependence.DAY
    also_reads: tuple[Table, ...] = ()

    @property
    def table(self) -> Table:
        """The table its partitions make up."""
        columns = (*self.keys, *self.measures)
        prefix = f"aggregated/{self.name}"
        return Table(self.name, prefix, "csv", "day", self.grain, columns, self.description, self.example)

    @property
    def statement(self) -> str:
        """The name of its SQL file."""
        return f"aggregates/{self.name}"


def _sum(name: str, description: str, type: str = "BIGINT", unit: str = "") -> Measure:  # noqa: A002  as Column has it
    return Measure(name, type, description, unit, f"SUM({name})")


def _ratio(name: str, part: str, whole: str, description: str) -> Measure:
    over_days = f"CAST(SUM({part}) AS DOUBLE) / NULLIF(SUM({whole}), 0)"
    return Measure(name, "DOUBLE", f"{description}; null where there are none", "0 to 1", over_days)


def _mean_degrees(name: str, description: str) -> Measure:
    weight = f"NULLIF(SUM(CASE WHEN {name} IS NOT NULL THEN events END), 0)"
    mean = f"CAST(SUM(CAST({name} AS DECIMAL(9,6)) * events) / {weight} AS DECIMAL(9,6))"
    return Measure(name, "DOUBLE", description, "degrees", mean)


def _never(condition: str) -> Invariant:
    return Invariant(f"COUNT(CASE WHEN {condition} THEN 1 END)", "=", "nothing")


COUNTRY = Column("country", "VARCHAR", "ISO 3166-1 alpha-2 code, null where the place is unknown")
REGION = Column("region", "VARCHAR", "region or state, null where unknown")
CITY = Column("city", "VARCHAR", "city, null where unknown")
EVENT_NAME = Column("event_name", "VARCHAR", "Search, ViewContent, AddToCart or Purchase")
HOUR = Column("hour", "TIMESTAMP", "start of the hour of event time", "UTC")
USER_ID = Column("user_id", "VARCHAR", "who acted, as the shop knows them")
EVENTS = _sum("events", "events of any kind")
SEARCHES = _sum("searches", "Search events")
VIEWS = _sum("views", "ViewContent events")
ADD_TO_CARTS = _sum("add_to_carts", "AddToCart events")
PURCHASES = _sum("purchases", "Purchase events")
ACTIONS = (SEARCHES, VIEWS, ADD_TO_CARTS, PURCHASES)
REVENUE = _sum("revenue", "sum of the prices of purchases", "DECIMAL(28,2)", "currency")
USERS = Measure("users", "BIGINT", "distinct users of the day")

EVERY_EVENT = (Invariant("SUM(events)", "=", "events"),)
EVERY_ACTION = (*EVERY_EVENT, _never("searches + views + add_to_carts + purchases <> events"))

AGGREGATES = (
    Aggregate(
        "events_by_type",
        "one row per event name and day of event time",
        "The ratio of event types: how often each action was taken.",
        (EVENT_NAME,),
        (EVENTS,),
        "SELECT event_name, events FROM events_by_type_all_time ORDER BY events DESC",
        EVERY_EVENT,
    ),
    Aggregate(
        "events_by_country",
        "one row per country, event name and day of event time",
        "Where the events of each type came from.",
        (COUNTRY, EVENT_NAME),
        (EVENTS,),
        "SELECT country, SUM(events) AS events FROM events_by_country_last_30_days "
        "GROUP BY country ORDER BY events DESC",
        EVERY_EVENT,
    ),
    Aggregate(
        "events_by_region",
        "one row per region and day of event time",
        "Requests, actions, users and revenue by region or state.",
        (COUNTRY, REGION),
        (EVENTS, *ACTIONS, USERS, REVENUE),
        "SELECT region, events, revenue FROM events_by_region_all_time WHERE country = 'US' ORDER BY events DESC",
        EVERY_ACTION,
    ),
    Aggregate(
        "events_by_city",
        "one row per city and day of event time",
        "Requests and actions by city, with the coordinates to draw them on a map.",
        (COUNTRY, REGION, CITY),
        (
            EVENTS,
            *ACTIONS,
            _mean_degrees("latitude", "to the north, mean over the events"),
            _mean_degrees("longitude", "to the east, mean over the events"),
        ),
        "SELECT city, latitude, longitude, events FROM events_by_city_last_30_days ORDER BY events DESC LIMIT 20",
        EVERY_ACTION,
    ),
    Aggregate(
        "events_by_hour",
        "one row per hour of event time and event name",
        "Events and revenue over time.",
        (HOUR, EVENT_NAME),
        (EVENTS, REVENUE),
        "SELECT hour, SUM(events) AS events, SUM(revenue) AS revenue FROM events_by_hour GROUP BY hour ORDER BY hour",
        EVERY_EVENT,
    ),
    Aggregate(
        "top_regions",
        "one row per rank, at most ten, and day of event time",
        "The day's ten busiest regions, of those that are known; equal ones in the order of their names.",
        (Column("rank", "BIGINT", "1 for the busiest"),),
        (
            Measure("country", "VARCHAR", "ISO 3166-1 alpha-2 code"),
            Measure("region", "VARCHAR", "region or state"),
            Measure("events", "BIGINT", "events of any kind"),
        ),
        "SELECT date, rank, region, events FROM top_regions ORDER BY date DESC, rank LIMIT 10",
        (Invariant("SUM(events)", "<=", "events"), _never("rank NOT BETWEEN 1 AND 10")),
    ),
    Aggregate(
        "actions_by_customer",
        "one row per user and day of event time",
        "What every customer did, one column per action.",
        (USER_ID,),
        (
            Measure("name", "VARCHAR", "the customer's full name, null where unknown", "", "ARG_MAX(name, last_seen)"),
            *ACTIONS,
            EVENTS,
            REVENUE,
            Measure("first_seen", "TIMESTAMP", "the first event", "UTC", "MIN(first_seen)"),
            Measure("last_seen", "TIMESTAMP", "the last event", "UTC", "MAX(last_seen)"),
        ),
        "SELECT name, purchases, revenue FROM actions_by_customer_all_time ORDER BY revenue DESC LIMIT 10",
        EVERY_ACTION,
    ),
    Aggregate(
        "hourly_funnel",
        "one row per hour of event time in which users first viewed something that day",
        "From view to cart to purchase, in this order and on one day. A user counts once a day, in the hour of the "
        "day's first ViewContent, so hours add up.",
        (HOUR,),
        (
            _sum("viewers", "users whose first ViewContent of the day is of this hour"),
            _sum("carters", "of these, users with an AddToCart then or later that day"),
            _sum("buyers", "of these, users with a Purchase at or after their first such AddToCart that day"),
            _ratio("view_to_cart", "carters", "viewers", "carters of all viewers"),
            _ratio("cart_to_purchase", "buyers", "carters", "buyers of all carters"),
            _ratio("conversion", "buyers", "viewers", "buyers of all viewers"),
        ),
        "SELECT date, SUM(viewers) AS viewers, SUM(carters) AS carters, SUM(buyers) AS buyers FROM hourly_funnel "
        "GROUP BY date ORDER BY date",
        (Invariant("SUM(viewers)", "<=", "users"), _never("buyers > carters OR carters > viewers")),
    ),
    Aggregate(
        "product_performance",
        "one row per product and day of event time",
        "How products are looked at, carted and bought. Events that name no product make a row whose product is null.",
        (Column("product_id", "BIGINT", "the product, null where events name none"),),
        (
            VIEWS,
            _sum("timed_views", "of these, views that say how long they took"),
            _sum("time_on_views", "time spent on the pages viewed", "DECIMAL(28,0)", "seconds"),
            Measure(
                "average_time_on_view",
                "DOUBLE",
                "time_on_views by timed_views, null where there are none",
                "seconds",
                "CAST(SUM(time_on_views) AS DOUBLE) / NULLIF(SUM(timed_views), 0)",
            ),
            ADD_TO_CARTS,
            PURCHASES,
            REVENUE,
            EVENTS,
        ),
        "SELECT product_id, views, purchases, revenue FROM product_performance_last_30_days "
        "ORDER BY revenue DESC LIMIT 10",
        EVERY_EVENT,
    ),
    Aggregate(
        "views_by_depth",
        "one row per depth and day of event time",
        "How far pages are seen: views by the share of the page, in tens of percent.",
        (Column("depth", "BIGINT", "lower bound of the share that was seen, null where unknown", "percent"),),
        (VIEWS,),
        "SELECT depth, views FROM views_by_depth_last_30_days ORDER BY depth",
        (Invariant("SUM(views)", "<=", "events"),),
    ),
    Aggregate(
        "sessions",
        "one row per session, by the day of event time it started on",
        "Visits: a user's events without a pause of more than 30 minutes, at most 24 hours of them. Activity without "
        "such a pause is cut 24 hours after it began (at midnight, if it began in the first half hour of a day), and "
        "then at every midnight UTC. Over all days, every event is in one session.",
        (USER_ID, Column("session_start", "TIMESTAMP", "the session's first event", "UTC")),
        (
            Measure("session_end", "TIMESTAMP", "the session's last event", "UTC"),
            Measure("duration_seconds", "BIGINT", "from the second of the first event to that of the last", "seconds"),
            Measure("events", "BIGINT", "events of the session"),
            Measure("entry_action", "VARCHAR", "the first event's name; of events at one moment the first by name"),
            Measure("exit_action", "VARCHAR", "the last event's name; of events at one moment the last by name"),
            Measure("converted", "BIGINT", "1 if the user bought something in the session, else 0"),
        ),
        "SELECT date, COUNT(*) AS sessions, AVG(duration_seconds) AS seconds, AVG(converted) AS converted "
        "FROM sessions GROUP BY date ORDER BY date",
        (Invariant("SUM(events)", "=", "events", "all"), _never("duration_seconds > 86400")),
        Dependence.NEIGHBOURS,
    ),
    Aggregate(
        "daily_active_users",
        "one row per day of event time",
        "How many users are active, and how many of a month's come on a day.",
        (),
        (
            USERS,
            Measure("users_7_days", "BIGINT", "distinct users of the seven days that end with this one"),
            Measure("users_30_days", "BIGINT", "distinct users of the thirty days that end with this one"),
            Measure("stickiness", "DOUBLE", "users of all users_30_days", "0 to 1"),
        ),
        "SELECT date, users, users_30_days, stickiness FROM daily_active_users ORDER BY date",
        (Invariant("SUM(users)", "=", "users"), _never("users > users_7_days OR users_7_days > users_30_days")),
        Dependence.MONTH,
    ),
    Aggregate(
        "new_and_returning_users",
        "one row per day of event time",
        "How many of the day's users were seen for the first time. New and returning users are the day's distinct "
        "users, and the new ones of all days are everyone who was ever seen.",
        (),
        (
            USERS,
            _sum("new_users", "users whose first event ever is of this day"),
            Measure("returning_users", "BIGINT", "users who were seen on a day before"),
        ),
        "SELECT date, new_users, returning_users FROM new_and_returning_users ORDER BY date",
        (
            Invariant("SUM(new_users + returning_users)", "=", "users"),
            Invariant("SUM(new_users)", "=", "users", "all"),
            _never("users <> new_users + returning_users"),
        ),
        Dependence.HISTORY,
    ),
    Aggregate(
        "cohort_retention",
        "one row per week of users' first events, and day of event time",
        "Who comes back: users by the week they were first seen and the weeks since. A user counts on the first of "
        "their days in a week, so the days of a week add up to its distinct users.",
        (
            Column("cohort_week", "DATE", "Monday of the week of the users' first event ever", "UTC"),
            Column("week", "BIGINT", "weeks since, 0 for the first", "weeks"),
        ),
        (_sum("users", "users of the cohort whose first event of this week is of this day"),),
        "SELECT cohort_week, week, users FROM cohort_retention_all_time ORDER BY cohort_week, week",
        (Invariant("SUM(users)", "=", "users", "week"), _never("week < 0")),
        Dependence.HISTORY,
    ),
    Aggregate(
        "revenue_by_pixel",
        "one row per pixel and day of event time",
        "What the clicks of a pixel cost, by the price per click of the customers who acted, and what they brought in. "
        "Prices are those recorded for the day in customer_prices.",
        (Column("pixel_id", "VARCHAR", "the shop's tracking pixel that sent the events"),),
        (
            _sum("clicks", "events of any kind"),
            _sum("priced_clicks", "of these, events of users who are customers"),
            _sum("click_cost", "sum of the prices per click of the customers who acted", "DECIMAL(28,4)", "currency"),
            PURCHASES,
            REVENUE,
        ),
        "SELECT pixel_id, revenue, click_cost FROM revenue_by_pixel_last_30_days ORDER BY revenue DESC LIMIT 10",
        (Invariant("SUM(clicks)", "=", "events"), _never("priced_clicks > clicks")),
        also_reads=(CUSTOMER_PRICES,),
    ),
)
