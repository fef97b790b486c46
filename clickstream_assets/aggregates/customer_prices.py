"""Asset `customer_prices`: prices per click as they were on a day, so that what it cost can be computed again."""

from collections.abc import Iterable
from datetime import UTC, date, datetime
from pathlib import Path

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq
import pymysql

from clickstream_assets.freshness import DAILY
from clickstream_assets.metadata import parquet_preview, table_metadata
from clickstream_assets.partitions import SINGLE_RUN, Partitions, day_of_key
from resources.lake import Lake, written_partition
from streaming.domain.tables import CUSTOMER_PRICES
from streaming.edges.parquet import arrow_schema, parquet_bytes
from streaming.edges.users_db import Customer, UsersDb


def customer_prices_asset(partitions: Partitions) -> dg.AssetsDefinition:
    """The prices of each day."""

    @dg.asset(
        partitions_def=partitions.days,
        deps=["customers"],
        backfill_policy=SINGLE_RUN,
        pool="customer_prices",
        group_name="aggregates",
        kinds={"parquet", "mysql"},
        owners=["team:analytics"],
        freshness_policy=DAILY,
        metadata=table_metadata(CUSTOMER_PRICES),
    )
    def customer_prices(
        context: dg.AssetExecutionContext, lake: dg.ResourceParam[Lake], users_db: dg.ResourceParam[UsersDb]
    ) -> None:
        """Every customer's price per click, as recorded for the day from MySQL.

        Written anew while the day goes on, and kept afterwards. A day that is over and was never recorded gets the
        prices of now, once. MySQL is asked only where something is to be recorded; while it is down, the day that goes
        on has the prices it had.
        """
        days = [day_of_key(key) for key in context.partition_keys]
        record_prices(days, datetime.now(UTC).date(), lake, users_db)
        for day in days:
            file = written_partition(lake, CUSTOMER_PRICES, day)
            told = {"dagster/row_count": pq.read_metadata(file).num_rows, "preview": parquet_preview(file)}
            context.add_asset_metadata(told, partition_key=day.isoformat())

    return customer_prices


def record_prices(days: Iterable[date], today: date, lake: Lake, users_db: UsersDb) -> list[date]:
    """Record the prices of now for those days that have none, and for those that are not over; returns which changed.

    Raises:
        dagster.Failure: a day has no prices yet, and MySQL cannot be read.
    """
    due = [day for day in days if day >= today or lake.partition(CUSTOMER_PRICES, day) is None]
    if not due:
        return []
    try:
        prices = _parquet(users_db.all_customers())
    except pymysql.MySQLError as error:
        lacking = [day for day in due if lake.partition(CUSTOMER_PRICES, day) is None]
        if lacking:
            told = f"prices of {len(lacking)} days are to be recorded, and MySQL cannot be read: {error}"
            raise dg.Failure(told) from error
        dg.get_dagster_logger().warning("MySQL cannot be read, and today's prices stay as they are: %s", error)
        return []
    changed = [day for day in due if _content(day, lake) != prices]
    for day in changed:
        with lake.publishing(CUSTOMER_PRICES, day) as file:
            file.path.write_bytes(prices)
    return changed


def _content(day: date, lake: Lake) -> bytes | None:
    file = lake.partition(CUSTOMER_PRICES, day)
    return Path(file).read_bytes() if file else None


def _parquet(customers: Iterable[Customer]) -> bytes:
    rows = [(customer.customer_id, customer.price_per_click) for customer in customers]
    columns = zip(*rows, strict=True) if rows else ((), ())
    return parquet_bytes(pa.table(list(columns), schema=arrow_schema(CUSTOMER_PRICES)))
