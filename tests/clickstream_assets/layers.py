"""The layers brought up to date one by one, without Dagster."""

from datetime import date, datetime, timedelta

from clickstream_assets import pending
from clickstream_assets.aggregates.customer_prices import record_prices
from clickstream_assets.aggregates.dependence import FlattenedDays
from clickstream_assets.aggregates.unload import unload
from clickstream_assets.enriched.seal import seal
from clickstream_assets.flattened.flatten import find_event_hours, flatten
from clickstream_assets.ledger.balance import publish_balance
from resources.delivery import DeliveryProgress
from resources.lake import DirectoryLake
from resources.warehouse import DuckDBWarehouse
from tests.clickstream_assets.aggregates import SHOP
from tests.clickstream_assets.conftest import NOW, caught_up

LONG_AFTER = NOW + timedelta(days=2)
DONE = caught_up(LONG_AFTER)


def settle(lake: DirectoryLake, warehouse: DuckDBWarehouse, progress: DeliveryProgress = DONE) -> None:
    for hour in pending.arrival_hours(lake, progress).closed:
        seal(hour, lake, warehouse)
        publish_balance(hour, lake, warehouse, progress)


def flatten_pending(lake: DirectoryLake, warehouse: DuckDBWarehouse) -> list[datetime]:
    hours = pending.event_hours(lake)
    for hour, event_hour in (find_event_hours(hours, lake) if hours else {}).items():
        flatten(hour, event_hour, lake, warehouse)
    return hours


def aggregate_pending(lake: DirectoryLake, warehouse: DuckDBWarehouse) -> list[date]:
    days = pending.days(lake)
    record_prices(days, date.max, lake, SHOP)
    for day, aggregates in days.items():
        for aggregate in aggregates:
            unload(aggregate, day, FlattenedDays(lake), lake, warehouse)
    return list(days)
