"""The declared schema of every table in the lake: the one place where columns and types are written.

Delivery converts by it, the catalog builds its views from it, Dagster shows it as column metadata. Types are
SQL types that DuckDB, Spark, Redshift Spectrum and Athena share. Timestamps are UTC, without a zone.
"""

from dataclasses import dataclass
from typing import Literal

FileFormat = Literal["parquet", "json", "csv"]
Partition = Literal["hour", "day"]


@dataclass(frozen=True)
class Column:
    """One column: its SQL type, what it means, and the unit it is in, where it has one."""

    name: str
    type: str
    description: str
    unit: str = ""

    @property
    def comment(self) -> str:
        """What it means, and its unit, in one text."""
        return f"{self.description} ({self.unit})" if self.unit else self.description


HOUR_KEYS = (
    Column("year", "INT", "partition: year"),
    Column("month", "INT", "partition: month"),
    Column("day", "INT", "partition: day of the month"),
    Column("hour", "INT", "partition: hour of the day, UTC"),
)
DAY_KEYS = (Column("date", "DATE", "partition: day of event time, UTC"),)


@dataclass(frozen=True)
class Table:
    """One table of the lake. `prefix` is its folder; `partition` the width of its Hive partitions, None: one file.

    `description` says what it is for, `example` asks it something.
    """

    name: str
    prefix: str
    format: FileFormat
    partition: Partition | None
    grain: str
    columns: tuple[Column, ...]
    description: str = ""
    example: str = ""

    @property
    def comment(self) -> str:
        """What it is for, and its grain, in one text."""
        return f"{self.description} {self.grain[0].upper()}{self.grain[1:]}."

    @property
    def column_names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns)

    @property
    def partition_columns(self) -> tuple[Column, ...]:
        """What its folders say of the rows below them."""
        return {"hour": HOUR_KEYS, "day": DAY_KEYS, None: ()}[self.partition]


EVENT_COLUMNS = (
    Column("user_id", "VARCHAR", "who acted, as the shop knows them"),
    Column("pixel_id", "VARCHAR", "the shop's tracking pixel that sent the event"),
    Column("click_id", "VARCHAR", "identity of the event; copies of one event share it"),
    Column("insertion_timestamp", "TIMESTAMP", "when the client queued the event", "UTC"),
    Column("event_name", "VARCHAR", "Search, ViewContent, AddToCart or Purchase"),
    Column("user_ip", "VARCHAR", "address the place was looked up for"),
)
PLACE_AND_NAME_COLUMNS = (
    Column("name", "VARCHAR", "the customer's full name"),
    Column("country", "VARCHAR", "ISO 3166-1 alpha-2 code of the country of user_ip"),
    Column("region", "VARCHAR", "region or state of user_ip"),
    Column("city", "VARCHAR", "city of user_ip"),
    Column("latitude", "DOUBLE", "of the place, to the north", "degrees"),
    Column("longitude", "DOUBLE", "of the place, to the east", "degrees"),
    Column(
        "missing_reasons", "VARCHAR", "why name or place is null, such as 'name:unknown_user'; sorted, comma-joined"
    ),
    Column("enrichment_version", "VARCHAR", "code, geo build and users snapshot the row was enriched with"),
    Column("extra", "VARCHAR", "JSON object of the keys the contract does not name, null when there are none"),
)
DELIVERY_COLUMNS = (
    Column("record_id", "VARCHAR", "identity of the delivery: 32 lower-case hex digits"),
    Column("arrival_timestamp", "TIMESTAMP", "when the edge accepted the record", "UTC"),
)
DETAIL_COLUMNS = (
    Column("time_on_data", "BIGINT", "time spent on the page", "seconds"),
    Column("percent_viewed", "DOUBLE", "share of the page that was seen", "percent"),
    Column("product_id", "BIGINT", "the product that was looked at, carted or bought"),
    Column("price", "DECIMAL(18,2)", "the product's price", "currency"),
)
ADDITIONAL_DATA = Column(
    "additional_data",
    "STRUCT(" + ", ".join(f"{column.name} {column.type}" for column in DETAIL_COLUMNS) + ")",
    "details of the action",
)

_ENRICHED_COLUMNS = (
    *DELIVERY_COLUMNS,
    Column("timestamp", "TIMESTAMP", "event time", "UTC"),
    *EVENT_COLUMNS,
    ADDITIONAL_DATA,
    *PLACE_AND_NAME_COLUMNS,
)

ENRICHED_LANDING = Table(
    "enriched_landing",
    "enriched_landing",
    "parquet",
    "hour",
    "one row per delivered record",
    _ENRICHED_COLUMNS,
    description="Enriched records as delivered, with every copy that was delivered again.",
    example="SELECT COUNT(*) AS deliveries, COUNT(DISTINCT record_id) AS records FROM enriched_landing",
)
ENRICHED_EVENTS = Table(
    "enriched_events",
    "enriched",
    "parquet",
    "hour",
    "one row per record_id, by hour of arrival",
    _ENRICHED_COLUMNS,
    description="Every record that kept the contract, with its customer's name and its place; live.",
    example="SELECT e.timestamp, e.event_name, e.name, e.city FROM enriched_events e ORDER BY e.arrival_timestamp "
    "DESC LIMIT 20",
)
RAW_EVENTS = Table(
    "raw_events",
    "raw",
    "json",
    "hour",
    "one envelope per delivered record, by hour of arrival",
    (
        *DELIVERY_COLUMNS,
        Column("client_ip", "VARCHAR", "address the edge vouches for; null when the payload's is trusted"),
        Column("event", "JSON", "the event as it was sent; null when it was not one line of JSON"),
        Column("event_base64", "VARCHAR", "the record's bytes when they were not one line of JSON"),
    ),
    description="Every record that was accepted, as it was sent.",
    example="SELECT arrival_timestamp, event ->> 'user_id' AS user_id, event FROM raw_events ORDER BY "
    "arrival_timestamp DESC LIMIT 20",
)
FAILED_EVENTS = Table(
    "failed_events",
    "failed_events",
    "parquet",
    "hour",
    "one row per record_id and stage that it failed in, by hour of arrival",
    (
        *DELIVERY_COLUMNS,
        Column("state", "VARCHAR", "failed; replayed with success; enriched all the same, by a later delivery"),
        Column("replayed_at", "TIMESTAMP", "when a replay succeeded", "UTC"),
        Column("type", "VARCHAR", "failure type, such as schema_violation"),
        Column("stage", "VARCHAR", "where it failed: enrichment, delivery, or a consumer's name"),
        Column("field", "VARCHAR", "JSON pointer of the first fault, empty for the whole event"),
        Column("reason", "VARCHAR", "what was wrong, for a person to read"),
        Column("error_code", "VARCHAR", "the code that delivery recorded"),
        Column("attempts", "BIGINT", "how often processing was tried"),
        Column("handler_version", "VARCHAR", "version of the validator that typed it"),
        Column("raw_data", "BLOB", "the record's bytes as they stood on the stream"),
    ),
    description="Records that broke the contract or could not be processed, typed, with their bytes as they were sent.",
    example="SELECT type, field, reason, COUNT(*) AS records FROM failed_events WHERE state = 'failed' GROUP BY ALL "
    "ORDER BY records DESC",
)
REPLAYS = Table(
    "replays",
    "replays",
    "json",
    "hour",
    "one row per record_id, stage and outcome of a replay that was not known before, by hour of arrival",
    (
        *DELIVERY_COLUMNS,
        Column("stage", "VARCHAR", "where it had failed"),
        Column("replayed_at", "TIMESTAMP", "when a replay first had this outcome", "UTC"),
        Column("outcome", "VARCHAR", "passed or failed"),
        Column("type", "VARCHAR", "failure type, null where it passed"),
        Column("field", "VARCHAR", "JSON pointer of the first fault, null where it passed"),
        Column("reason", "VARCHAR", "what was wrong, null where it passed"),
        Column("handler_version", "VARCHAR", "version of the code that it was replayed with"),
    ),
    description="What came of replaying failed events.",
    example="SELECT stage, outcome, COUNT(*) AS replays FROM replays GROUP BY stage, outcome",
)
EVENT_LEDGER = Table(
    "event_ledger",
    "event_ledger",
    "parquet",
    "hour",
    "one row per hour of arrival",
    (
        Column("arrival_hour", "TIMESTAMP", "start of the hour", "UTC"),
        Column("state", "VARCHAR", "open, balanced or red"),
        Column("raw_records", "BIGINT", "distinct record_ids in raw"),
        Column("enriched_records", "BIGINT", "distinct record_ids in enriched"),
        Column("failed_records", "BIGINT", "distinct record_ids in failed and not in enriched"),
        Column("missing_records", "BIGINT", "record_ids of raw that are in neither enriched nor failed"),
        Column("unknown_records", "BIGINT", "record_ids of enriched or failed that are not in raw"),
        Column("repeated_deliveries", "BIGINT", "deliveries of a record_id beyond its first"),
        Column("repeated_clicks", "BIGINT", "rows whose click_id stands in the hour already"),
        Column("conflicting_clicks", "BIGINT", "click_ids that stand with other content in the event hours touched"),
        Column("conflict_examples", "VARCHAR[]", "the first few of these click_ids"),
        Column("degraded_records", "BIGINT", "enriched rows that lack a name or a place because a look-up failed"),
        Column("failures_by_type", "VARCHAR", "JSON object of failure type to records"),
        Column(
            "touched_event_hours",
            "STRUCT(event_hour TIMESTAMP, events BIGINT, version VARCHAR)[]",
            "event hours of the rows, each with a hash of its rows; no events where it was touched before",
        ),
        Column("version", "VARCHAR", "hash of what was compared; equal versions mean nothing changed"),
    ),
    description="What became of every accepted record, compared by identity: raw is enriched and failed together.",
    example="SELECT arrival_hour, state, raw_records, enriched_records, failed_records, missing_records FROM "
    "event_ledger ORDER BY arrival_hour DESC LIMIT 24",
)
LEDGER_DEFICITS = Table(
    "ledger_deficits",
    "ledger_deficits",
    "parquet",
    "hour",
    "one row per record_id that keeps an hour of arrival from balancing",
    (
        Column("arrival_hour", "TIMESTAMP", "start of the hour", "UTC"),
        Column("record_id", "VARCHAR", "identity of the delivery"),
        Column(
            "side", "VARCHAR", "missing: in raw and in neither enriched nor failed; unknown: in these and not in raw"
        ),
    ),
    description="The records that an hour is missing, or has and should not; empty unless an hour is red.",
    example="SELECT arrival_hour, side, COUNT(*) AS records FROM ledger_deficits GROUP BY arrival_hour, side ORDER "
    "BY arrival_hour",
)
FLATTENED_EVENTS = Table(
    "flattened_events",
    "flattened",
    "parquet",
    "hour",
    "one row per click_id, by hour of event time",
    (
        Column("event_timestamp", "TIMESTAMP", "event time", "UTC"),
        *EVENT_COLUMNS,
        *DETAIL_COLUMNS,
        *PLACE_AND_NAME_COLUMNS,
        *DELIVERY_COLUMNS,
    ),
    description="Every event once, however often it was delivered, with plain columns: the table to ask first.",
    example="SELECT product_id, COUNT(*) AS purchases, SUM(price) AS revenue FROM flattened_events WHERE event_name "
    "= 'Purchase' GROUP BY product_id ORDER BY revenue DESC LIMIT 10",
)
CUSTOMER_PRICES = Table(
    "customer_prices",
    "customer_prices",
    "parquet",
    "day",
    "one row per customer and day, as MySQL had it when the day was last recorded",
    (
        Column("customer_id", "BIGINT", "the user_id of events, as a number"),
        Column("price_per_click", "DECIMAL(10,4)", "what one click of this customer costs", "currency"),
    ),
    description="Customers' prices per click, kept by day, so that what clicks cost can be computed again.",
    example="SELECT date, COUNT(*) AS customers, AVG(price_per_click) AS mean_price FROM customer_prices GROUP BY "
    "date ORDER BY date",
)
HIGH_INTENT_VIEWS = Table(
    "high_intent_views",
    "high_intent_views",
    "parquet",
    "hour",
    "one row per ViewContent with percent_viewed above 60, as delivered",
    (
        *DELIVERY_COLUMNS,
        Column("event_timestamp", "TIMESTAMP", "event time", "UTC"),
        Column("user_id", "VARCHAR", "who acted"),
        Column("click_id", "VARCHAR", "identity of the event"),
        Column("event_name", "VARCHAR", "always ViewContent"),
        Column("percent_viewed", "DECIMAL(5,2)", "share of the page that was seen, above 60", "percent"),
        Column("product_id", "BIGINT", "the product that was looked at"),
        Column("price", "DECIMAL(18,2)", "the product's price", "currency"),
    ),
    description="Views worth a special offer, found by SQL on the live stream.",
    example="SELECT user_id, product_id, percent_viewed FROM high_intent_views ORDER BY arrival_timestamp DESC LIMIT "
    "20",
)
LATEST_SEARCH_BY_USER = Table(
    "latest_search_by_user",
    "reports/latest_search_by_user",
    "parquet",
    None,
    "one row per user who ever searched",
    (
        Column("user_id", "VARCHAR", "who searched, as the shop knows them"),
        Column("name", "VARCHAR", "the customer's full name as MySQL has it now, null where it has none"),
        Column("location", "VARCHAR", "city, region and country of the last access, null where unknown"),
        Column("event_name", "VARCHAR", "always Search"),
        Column("last_search", "TIMESTAMP", "event time of the user's last Search", "UTC"),
        Column(
            "last_access", "TIMESTAMP", "event time of the user's last event of any kind as Redis has it now", "UTC"
        ),
        Column(
            "price_per_click",
            "DECIMAL(10,4)",
            "what one click of this customer costs, null where MySQL has none",
            "currency",
        ),
    ),
    description="The last Search of every user, with last access and place from Redis, name and price per click from "
    "MySQL.",
    example="SELECT name, location, last_search, price_per_click FROM latest_search_by_user ORDER BY last_search "
    "DESC LIMIT 20",
)

# What delivery, repairs and replays append to; all other tables are published, a partition at a time.
LANDING = (RAW_EVENTS, ENRICHED_LANDING, HIGH_INTENT_VIEWS, REPLAYS)

TABLES = {
    table.name: table
    for table in (
        RAW_EVENTS,
        ENRICHED_LANDING,
        ENRICHED_EVENTS,
        FAILED_EVENTS,
        REPLAYS,
        EVENT_LEDGER,
        LEDGER_DEFICITS,
        FLATTENED_EVENTS,
        CUSTOMER_PRICES,
        HIGH_INTENT_VIEWS,
        LATEST_SEARCH_BY_USER,
    )
}
