"""The registry of aggregates. A new one takes `sql/aggregates/<name>.sql` and a row here."""

from dataclasses import dataclass

from clickstream_assets.aggregates.dependence import Dependence
from streaming.domain.tables import Column, Table

COUNTRY = Column("country", "VARCHAR", "ISO 3166-1 alpha-2 code, null where the place is unknown")
REGION = Column("region", "VARCHAR", "region or state, null where unknown")
CITY = Column("city", "VARCHAR", "city, null where unknown")
EVENT_NAME = Column("event_name", "VARCHAR", "Search, ViewContent, AddToCart or Purchase")
USER_ID = Column("user_id", "VARCHAR", "who acted, as the shop knows them")
EVENTS = Column("events", "BIGINT", "events of the day")
USERS = Column("users", "BIGINT", "distinct users of the day")
REVENUE = Column("revenue", "DECIMAL(22,2)", "sum of the prices of purchases")


@dataclass(frozen=True)
class Aggregate:
    """One aggregate: what a row stands for, its keys, what is measured for each, and what a day of it depends on."""

    name: str
    grain: str
    description: str
    keys: tuple[Column, ...]
    measures: tuple[Column, ...]
    depends_on: Dependence = Dependence.DAY

    @property
    def table(self) -> Table:
        """The table its partitions make up."""
        return Table(self.name, f"aggregated/{self.name}", "csv", "day", self.grain, (*self.keys, *self.measures))

    @property
    def statement(self) -> str:
        """The name of its SQL file."""
        return f"aggregates/{self.name}"


AGGREGATES = (
    Aggregate(
        "events_by_type",
        "one row per event name and day of event time",
        "The ratio of event types: how often each action was taken.",
        (EVENT_NAME,),
        (EVENTS,),
    ),
    Aggregate(
        "events_by_country",
        "one row per country, event name and day of event time",
        "Where the events of each type came from.",
        (COUNTRY, EVENT_NAME),
        (EVENTS,),
    ),
    Aggregate(
        "events_by_region",
        "one row per region and day of event time",
        "Requests, users and revenue by region or state; its top ten are the busiest regions.",
        (COUNTRY, REGION),
        (EVENTS, USERS, REVENUE),
    ),
    Aggregate(
        "events_by_city",
        "one row per city and day of event time",
        "Requests by city, with the coordinates to draw them on a map.",
        (COUNTRY, REGION, CITY),
        (
            EVENTS,
            Column("latitude", "DOUBLE", "degrees north, mean over the events"),
            Column("longitude", "DOUBLE", "degrees east, mean over the events"),
        ),
    ),
    Aggregate(
        "actions_by_customer",
        "one row per user and day of event time",
        "What every customer did, one column per action.",
        (USER_ID,),
        (
            Column("name", "VARCHAR", "the customer's full name, null where unknown"),
            Column("searches", "BIGINT", "Search events"),
            Column("views", "BIGINT", "ViewContent events"),
            Column("add_to_carts", "BIGINT", "AddToCart events"),
            Column("purchases", "BIGINT", "Purchase events"),
            EVENTS,
            REVENUE,
            Column("first_seen", "TIMESTAMP", "the day's first event, UTC"),
            Column("last_seen", "TIMESTAMP", "the day's last event, UTC"),
        ),
    ),
    Aggregate(
        "sessions",
        "one row per session, by the day of event time it started on",
        "Visits: a user's events without a pause of more than 30 minutes, at most 24 hours of them. Activity without "
        "such a pause is cut 24 hours after it began, and then at every midnight UTC. Over all days, every event is in "
        "one session.",
        (USER_ID, Column("session_start", "TIMESTAMP", "the session's first event, UTC")),
        (
            Column("session_end", "TIMESTAMP", "the session's last event, UTC"),
            Column("duration_seconds", "BIGINT", "from the second of the first event to that of the last"),
            Column("events", "BIGINT", "events of the session"),
            Column("entry_action", "VARCHAR", "the first event's name; of events at one moment the lowest click_id's"),
            Column("exit_action", "VARCHAR", "the last event's name; of events at one moment the highest click_id's"),
            Column("converted", "BIGINT", "1 if the user bought something in the session, else 0"),
        ),
        Dependence.NEIGHBOURS,
    ),
    Aggregate(
        "new_and_returning_users",
        "one row per day of event time",
        "How many of the day's users were seen for the first time. New and returning users are the day's distinct "
        "users, and the new ones of all days are everyone who was ever seen.",
        (),
        (
            USERS,
            Column("new_users", "BIGINT", "users whose first event ever is of this day"),
            Column("returning_users", "BIGINT", "users who were seen on a day before"),
        ),
        Dependence.HISTORY,
    ),
)
