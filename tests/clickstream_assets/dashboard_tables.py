"""Tables for the dashboard: weeks of events of a small shop, or far more keys than a page can hold."""

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from random import Random

import duckdb

from clickstream_assets.aggregates.dependence import FlattenedDays
from clickstream_assets.dashboard.data import SHOWN_TABLES
from clickstream_assets.dashboard.panels import SOURCES
from resources.lake import DirectoryLake
from resources.warehouse import DuckDBWarehouse
from streaming.domain.tables import Column
from tests.clickstream_assets.aggregates import Event, flatten_events, unloaded

LAST_DAY = date(2026, 11, 20)
ACTIONS = ("Search", "ViewContent", "AddToCart", "Purchase")
PLACES = (
    ("US", "California", "Riverside", 33.9533, -117.3962),
    ("US", "California", "Los Angeles", 34.05, -118.24),
    ("US", "Texas", "Austin", 30.27, -97.74),
    ("US", "New York", "New York City", 40.71, -74.0),
    ("US", None, None, 37.75, -97.82),
    ("GB", "England", "London", 51.5, -0.1),
    ("DE", "Bavaria", "Munich", 48.14, 11.58),
    ("SG", None, "Singapore", 1.29, 103.85),
    (None, None, None, None, None),
)
NAMES = (None, "Ada Lovelace", "Grace <b>Hopper</b>", 'Édouard "Ed" Lucas', "=SUM(A1)", "Mary | Shelley")


def shop_events(days: int, events_a_day: int, seed: int = 7) -> list[Event]:
    """Events of the days up to LAST_DAY; users come back."""
    random = Random(seed)
    events: list[Event] = []
    for back in range(days):
        midnight = datetime.combine(LAST_DAY - timedelta(days=back), datetime.min.time())
        for _ in range(events_a_day):
            number = min(int(random.expovariate(0.03)), 199)
            country, region, city, latitude, longitude = random.choices(PLACES, range(len(PLACES), 0, -1))[0]
            events.append(
                {
                    "user_id": str(number),
                    "event_timestamp": midnight + timedelta(seconds=random.randrange(86_400)),
                    "event_name": random.choices(ACTIONS, (40, 45, 10, 5))[0],
                    "name": NAMES[number % len(NAMES)],
                    "pixel_id": f"pixel-{number % 13}",
                    "product_id": random.choice((None, 361482, 2**53 + 1, *range(1, 30))),
                    "price": Decimal(random.randrange(100_000)) / 100,
                    "country": country,
                    "region": region,
                    "city": city,
                    "latitude": latitude,
                    "longitude": longitude,
                }
            )
    return events


def make_tables(lake: DirectoryLake, warehouse: DuckDBWarehouse, events: Sequence[Event]) -> None:
    """Flatten and unload what the dashboard reads."""
    flatten_events(lake, events)
    for day in FlattenedDays(lake).days:
        for table in SHOWN_TABLES:
            unloaded(lake, warehouse, table, day)


def make_large_tables(lake: DirectoryLake, customers: int, cities: int, days: int, rows_a_day: int) -> None:
    """Aggregates as large as a page must bear, written as they are unloaded: each table its own numbers."""
    with duckdb.connect() as connection:
        connection.execute("SET preserve_insertion_order = false")
        for source in SOURCES:
            _large_table(connection, lake, source.table, customers, cities, days, rows_a_day)


def _large_table(
    connection: duckdb.DuckDBPyConnection,
    lake: DirectoryLake,
    name: str,
    customers: int,
    cities: int,
    days: int,
    rows: int,
) -> None:
    """Half of a day's keys come every day, so that there is much to hold; the others go through all there are."""
    table = SHOWN_TABLES[name]
    given = {
        "user_id": f"(r % {customers})::VARCHAR",
        "name": f"'Customer number ' || r % {customers}",
        "country": "'C' || r % 200",
        "region": f"'Region ' || r % {cities // 5}",
        "city": f"'City ' || r % {cities}",
        "latitude": "(r % 120) - 55.123",
        "longitude": "(r % 360) - 180.321",
        "event_name": "['Search', 'ViewContent', 'AddToCart', 'Purchase'][1 + (r // 24) % 4]",
        "hour": "d + INTERVAL (r % 24) HOUR",
        "last_seen": "d + INTERVAL (r % 86400) SECOND",
        "first_seen": "d",
        "product_id": "r % 50000",
        "pixel_id": "'pixel-' || r % 3000",
        "cohort_week": "date_trunc('week', d) - INTERVAL (7 * r) DAY",
        "week": "r",
    }
    small = {"hourly_funnel": 24, "daily_active_users": 1, "new_and_returning_users": 1, "cohort_retention": 26}
    small |= {"events_by_type": 96, "events_by_hour": 96}
    count = small.get(name, rows)
    number = "k" if name in small else f"CASE WHEN k < {rows // 2} THEN k ELSE k + b * {rows // 2} END"
    columns = ", ".join(
        f"CAST({given.get(column.name) or _measured(column)} AS {column.type}) AS {column.name}"
        for column in table.columns
    )
    folder = lake.path(table.prefix)
    folder.parent.mkdir(parents=True, exist_ok=True)
    connection.execute(
        f"COPY (SELECT {columns}, d AS date FROM (SELECT {number} AS r, DATE '{LAST_DAY}' - b::INTEGER AS d "
        f"FROM range({count}) numbers(k), range({days}) days(b))) "
        f"TO '{folder}' (FORMAT csv, DELIMITER '|', HEADER, PARTITION_BY (date), FILENAME_PATTERN '{name}')"
    )


def _measured(column: Column) -> str:
    most, divisor = (90_000, 100) if column.type.startswith("DECIMAL") else (40, 1)
    return f"hash(r, d, '{column.name}') % {most} / {divisor}"
