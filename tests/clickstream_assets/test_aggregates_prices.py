"""What clicks cost, by prices that are kept as they were on the day."""

from collections.abc import Iterable
from contextlib import closing
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit

import dagster as dg
import pandas as pd
import pymysql
import pytest
from hypothesis import given, settings

from clickstream_assets import pending
from clickstream_assets.aggregates.customer_prices import record_prices
from clickstream_assets.aggregates.dependence import DAY, FlattenedDays
from clickstream_assets.aggregates.unload import NotRecordedError, unload
from clickstream_assets.definitions import build_definitions
from clickstream_assets.jobs import AGGREGATE
from clickstream_assets.requests import aggregate_requests
from resources.lake import DirectoryLake, partition_file
from resources.warehouse import DuckDBWarehouse
from streaming.domain.tables import CUSTOMER_PRICES
from streaming.edges.users_db import Customer, UsersDb
from streaming.settings import Settings
from tests.clickstream_assets.aggregates import (
    BY_NAME,
    MIDNIGHT,
    SHOP,
    Event,
    Shop,
    as_rows,
    event,
    flatten_events,
    in_pandas,
    over_all_days,
    random_events,
    unloaded,
)

PAST = MIDNIGHT.date()
REVENUE = BY_NAME["revenue_by_pixel"]
NOWHERE = "mysql://root@127.0.0.1:1/clickstream"


def test_clicks_of_customers_cost_what_each_of_them_costs(lake: DirectoryLake, warehouse: DuckDBWarehouse) -> None:
    prices = Shop({20: "1.2500", 35: "0.0001", 123456789012345678: "3.0000"})
    flatten_events(
        lake,
        [
            *(event("20", minute, "Search", pixel_id="a") for minute in (0, 1, 2)),
            event("35", 3, "Purchase", pixel_id="a", price=Decimal("0.10")),
            event("35", 4, "Purchase", pixel_id="a", price=Decimal("0.20")),
            event("123456789012345678", 5, pixel_id="b"),
            *(event(user, 6, "Purchase", pixel_id="b") for user in ("020", "12345", "stranger")),
            event("stranger", 7, pixel_id="=c|d"),
            event("20", 1440, pixel_id="a"),
        ],
    )
    assert unloaded(lake, warehouse, "revenue_by_pixel", shop=prices) == (
        "pixel_id|clicks|priced_clicks|click_cost|purchases|revenue\n"
        '"\'=c|d"|1|0|0.0000|0|0.00\n'
        "a|5|5|3.7502|2|0.30\n"
        "b|4|1|3.0000|3|0.00\n"
    )


def costs(events: pd.DataFrame) -> list[tuple[Any, ...]]:
    rows = []
    for (pixel, day), some in events.groupby(["pixel_id", "date"]):
        prices = [Decimal(SHOP.prices[int(user)]) for user in some["user_id"] if user in {"7", "20"}]
        bought = some[some["event_name"] == "Purchase"]
        revenue = sum(bought["price"].dropna(), Decimal(0))
        rows.append((pixel, len(some), len(prices), sum(prices, Decimal(0)), len(bought), revenue, day))
    return rows


@settings(max_examples=15)
@given(events=random_events())
def test_random_clicks_agree_with_pandas(tmp_path_factory: pytest.TempPathFactory, events: list[Event]) -> None:
    found = over_all_days(tmp_path_factory.mktemp("lake"), "revenue_by_pixel", events)
    assert as_rows(found.to_numpy()) == as_rows(costs(in_pandas(events)))
    assert found["clicks"].sum() == len(events)


def test_prices_are_kept_when_their_day_is_over(lake: DirectoryLake) -> None:
    files = {day: lake.path(partition_file(CUSTOMER_PRICES, day)) for day in (PAST, PAST + DAY)}
    assert record_prices(files, PAST + DAY, lake, Shop({20: "1.0000"})) == [PAST, PAST + DAY]
    before = {day: (file.read_bytes(), file.stat().st_ino) for day, file in files.items()}

    assert record_prices(files, PAST + DAY, lake, Shop({20: "1.0000"})) == []
    assert {day: (file.read_bytes(), file.stat().st_ino) for day, file in files.items()} == before
    assert record_prices(files, PAST + DAY, lake, Shop({20: "2.0000"})) == [PAST + DAY]
    assert files[PAST].read_bytes() == before[PAST][0]

    over = Shop({20: "3.0000"})
    assert record_prices(files, PAST + 2 * DAY, lake, over) == []
    assert over.asked == 0


class Down(Shop):
    """MySQL does not answer."""

    def all_customers(self) -> Iterable[Customer]:
        raise pymysql.OperationalError(2003, "nobody there")


def test_without_mysql_the_day_that_goes_on_keeps_its_prices(lake: DirectoryLake) -> None:
    with pytest.raises(dg.Failure, match="prices of 1 days are to be recorded"):
        record_prices([PAST], PAST, lake, Down({}))
    record_prices([PAST], PAST, lake, SHOP)
    before = lake.path(partition_file(CUSTOMER_PRICES, PAST)).read_bytes()
    assert record_prices([PAST], PAST, lake, Down({})) == []
    assert lake.path(partition_file(CUSTOMER_PRICES, PAST)).read_bytes() == before


def test_a_day_without_prices_is_not_made_up(lake: DirectoryLake, warehouse: DuckDBWarehouse) -> None:
    flatten_events(lake, [event("20", 0)])
    with pytest.raises(NotRecordedError, match="customer_prices has nothing of 2026-11-20"):
        unload(REVENUE, PAST, FlattenedDays(lake), lake, warehouse)
    assert not lake.path(partition_file(REVENUE.table, PAST)).exists()


def aggregate(
    platform: Settings, instance: dg.DagsterInstance, lake: DirectoryLake, mysql_url: str
) -> list[dg.ExecuteInProcessResult]:
    """The runs that schedules would ask for; with a shop that is down they may fail."""
    edges = {"users_db": UsersDb(mysql_url, connect_seconds=1)}
    job = build_definitions(platform, edges).resolve_job_def(AGGREGATE)
    return [
        job.execute_in_process(
            run_config=request.run_config,
            instance=instance,
            asset_selection=request.asset_selection,
            tags=request.tags,
            raise_on_error=False,
        )
        for request in aggregate_requests(pending.days(lake), "a test asked")
    ]


def set_price(mysql_url: str, price: str) -> None:
    server = urlsplit(mysql_url)
    with closing(
        pymysql.connect(host=server.hostname, port=server.port or 3306, user="root", database=server.path[1:])
    ) as connection:
        connection.cursor().execute("UPDATE customers SET price_per_click = %s WHERE customer_id = 20", [price])
        connection.commit()


def text(lake: DirectoryLake, day: date) -> str:
    return lake.path(partition_file(REVENUE.table, day)).read_text()


def click(day: date, minute: float = 0) -> Event:
    return event("20", (day - PAST).days * 1440 + minute, pixel_id="a")


def test_a_past_day_is_rebuilt_to_the_same_bytes_and_the_day_that_goes_on_follows(
    platform: Settings, instance: dg.DagsterInstance, lake: DirectoryLake, mysql_url: str
) -> None:
    today = datetime.now(UTC).date()
    set_price(mysql_url, "1.0000")
    flatten_events(lake, [click(PAST), click(today)])
    assert all(run.success for run in aggregate(platform, instance, lake, mysql_url))
    past = text(lake, PAST)
    assert past.endswith("\na|1|1|1.0000|0|0.00\n")
    assert text(lake, today) == past

    set_price(mysql_url, "9.0000")
    lake.path(partition_file(REVENUE.table, PAST)).unlink()
    flatten_events(lake, [click(today), click(today, 1)])
    assert all(run.success for run in aggregate(platform, instance, lake, mysql_url))

    assert text(lake, PAST) == past
    assert text(lake, today).endswith("\na|2|2|18.0000|0|0.00\n")
    of_today = dg.AssetRecordsFilter(dg.AssetKey(REVENUE.name), asset_partitions=[f"{today}"])
    [latest] = instance.fetch_materializations(of_today, limit=1).records
    assert latest.asset_materialization.metadata["changed_tables"].value == "customer_prices"
    assert not pending.days(lake)


def test_without_mysql_revenue_waits_and_nothing_else_does(
    platform: Settings, instance: dg.DagsterInstance, lake: DirectoryLake, mysql_url: str
) -> None:
    flatten_events(lake, [click(PAST)])

    [run] = aggregate(platform, instance, lake, NOWHERE)

    assert not run.success
    [failed] = [event for event in run.all_events if event.is_step_failure]
    assert failed.step_key == "customer_prices"
    assert "MySQL cannot be read" in failed.event_specific_data.error.message
    assert pending.days(lake) == {PAST: [REVENUE]}
    assert not lake.path(partition_file(REVENUE.table, PAST)).exists()

    assert all(run.success for run in aggregate(platform, instance, lake, mysql_url))
    assert not pending.days(lake)

    flatten_events(lake, [click(PAST), click(PAST, 1)])  # what was recorded needs no MySQL
    assert all(run.success for run in aggregate(platform, instance, lake, NOWHERE))
    assert text(lake, PAST).startswith("pixel_id|clicks|priced_clicks|click_cost|purchases|revenue\na|2|2|")
