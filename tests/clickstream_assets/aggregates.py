"""Flattened events and recorded prices given by tests, and what aggregates make of them."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import strategies as st

from clickstream_assets.aggregates.customer_prices import record_prices
from clickstream_assets.aggregates.dependence import FlattenedDays
from clickstream_assets.aggregates.registry import AGGREGATES
from clickstream_assets.aggregates.rolled_up import rolled_up
from clickstream_assets.aggregates.unload import unload
from resources.catalog import DuckDBCatalog
from resources.lake import DirectoryLake, partition_file
from resources.warehouse import DuckDBWarehouse
from streaming.domain.layout import hour_of
from streaming.domain.tables import FLATTENED_EVENTS
from streaming.edges.parquet import arrow_schema
from streaming.edges.users_db import Customer

MIDNIGHT = datetime(2026, 11, 20, tzinfo=UTC)  # a Friday
DAY = MIDNIGHT.date()
BY_NAME = {aggregate.name: aggregate for aggregate in AGGREGATES}

Event = dict[str, Any]


class Shop:
    """Customers by id and price, as MySQL would tell them. `asked`: how often."""

    def __init__(self, prices: Mapping[int, str]) -> None:
        self.prices = prices
        self.asked = 0

    def all_customers(self) -> Iterable[Customer]:
        self.asked += 1
        return [Customer(number, "pixel", "name", Decimal(price), MIDNIGHT) for number, price in self.prices.items()]


SHOP = Shop({7: "0.5000", 20: "1.2500"})


def at(*minutes: float) -> list[datetime]:
    """Moments by minutes from midnight."""
    return [MIDNIGHT + timedelta(minutes=minute) for minute in minutes]


def event(user: str, minute: float, action: str = "Search", /, **columns: Any) -> Event:
    """A flattened event, so many minutes after midnight; columns that are not given are null."""
    return {"user_id": user, "event_timestamp": at(minute)[0].replace(tzinfo=None), "event_name": action, **columns}


def flatten_events(lake: DirectoryLake, events: Iterable[Event]) -> None:
    """Write the flattened hours of events; click_ids number them."""
    by_hour: dict[datetime, list[Event]] = {}
    for number, each in enumerate(events):
        by_hour.setdefault(hour_of(each["event_timestamp"].replace(tzinfo=UTC)), []).append(
            {"pixel_id": "pixel", **each, "click_id": f"{number:06}"}
        )
    for hour, rows in by_hour.items():
        file = lake.path(partition_file(FLATTENED_EVENTS, hour))
        file.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(rows, arrow_schema(FLATTENED_EVENTS)), file)


def unloaded(lake: DirectoryLake, warehouse: DuckDBWarehouse, name: str, day: date = DAY, shop: Shop = SHOP) -> str:
    """The text of a day of an aggregate, with prices recorded as the shop has them where there are none yet."""
    record_prices([day], date.max, lake, shop)
    unload(BY_NAME[name], day, FlattenedDays(lake), lake, warehouse)
    return lake.path(partition_file(BY_NAME[name].table, day)).read_text()


def over_all_days(folder: Path, name: str, events: Sequence[Event]) -> pd.DataFrame:
    """All days of an aggregate of these events, as the catalog reads it: its columns and `date`, as Python values."""
    lake, warehouse = DirectoryLake(folder), DuckDBWarehouse(100_000_000, folder / ".duckdb")
    flatten_events(lake, events)
    for day in FlattenedDays(lake).days:
        unloaded(lake, warehouse, name, day)
    return asked(folder, name, f"SELECT * FROM {name}")


def asked(folder: Path, name: str, statement: str) -> pd.DataFrame:
    """What the catalog answers about an aggregate in `folder`, and the views over it."""
    catalog = DuckDBCatalog(folder / "catalog.duckdb", DirectoryLake(folder))
    catalog.refresh([BY_NAME[name].table], list(rolled_up(BY_NAME[name])))
    with duckdb.connect(catalog.file, read_only=True) as connection:
        answer = connection.execute(statement)
        columns = [column[0] for column in answer.description]
        return pd.DataFrame(answer.fetchall(), columns=columns, dtype=object)


def as_rows(frame: Iterable[Sequence[Any]]) -> list[tuple[Any, ...]]:
    """Rows to compare, whatever their order: a missing value is None, however it was written."""
    rows = [tuple(None if pd.isna(value) else value for value in row) for row in frame]
    return sorted(rows, key=lambda row: [(value is None, str(value)) for value in row])


PLACES = [
    ("US", "California", "Riverside", 33.9533, -117.3962),
    ("US", "California", "Riverside", 33.95, -117.4),
    ("US", "California", "Los Angeles", None, None),
    ("GB", "California", "Riverside", 54.0, -0.5),
    ("SG", None, "Singapore", 1.28967, 103.85007),
    ("NZ", "", "", -36.85, 174.76349),
    (None, None, None, None, None),
]
NAMES = ["Search", "ViewContent", "AddToCart", "Purchase"]
DETAILS = {
    "user_id": ["7", "20", "020", "ada", "a|b", '"=1'],
    "event_name": NAMES,
    "pixel_id": ["fytil06mrm", "=1+1", "wjg|ao"],
    "product_id": [None, 0, 361482, 9007199254740991],
    "price": [None, Decimal("0.00"), Decimal("0.10"), Decimal("694.83"), Decimal("1000000000000000.00")],
    "time_on_data": [None, 0, 83, 9007199254740991],
    "percent_viewed": [None, 0.0, 9.999, 10.0, 39.7, 100.0],
    "name": [None, "Ada", "Zoë", "@x"],
    "place": PLACES,
}


@st.composite
def random_event(draw: st.DrawFn, days: Sequence[int]) -> Event:
    """An event with odd values, on one of these days; few different minutes, so that moments tie."""
    chosen = {column: draw(st.sampled_from(values)) for column, values in DETAILS.items()}
    place = dict(zip(("country", "region", "city", "latitude", "longitude"), chosen.pop("place"), strict=True))
    minute = draw(st.sampled_from(days)) * 1440 + draw(st.sampled_from([0, 0.5, 59.99999, 60, 300, 301, 1439.99999]))
    return event(chosen.pop("user_id"), minute, chosen.pop("event_name"), **chosen, **place)


def random_events(days: Sequence[int] = (-1, 0, 2)) -> st.SearchStrategy[list[Event]]:
    """Events of a few days, given by their distance from DAY, in no order."""
    return st.lists(random_event(days), max_size=40)


def in_pandas(events: Sequence[Event]) -> pd.DataFrame:
    """The events, with their `date` and `hour`; missing values are None."""
    columns = [column for column in FLATTENED_EVENTS.column_names if column != "click_id"]
    frame = pd.DataFrame(events, columns=columns, dtype=object)
    frame["date"] = [moment.date() for moment in frame["event_timestamp"]]
    frame["hour"] = [moment.replace(minute=0, second=0, microsecond=0) for moment in frame["event_timestamp"]]
    return frame
