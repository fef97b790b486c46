"""The ledger compares identities: one record too few or too many is red."""

from datetime import timedelta

import pytest

from clickstream_assets.enriched.seal import seal
from clickstream_assets.failed.collect import publish_failed_events
from clickstream_assets.ledger.balance import publish_balance
from resources.lake import Lake
from resources.warehouse import DuckDBWarehouse
from streaming.domain.layout import hour_of, hour_prefix
from tests.clickstream_assets.conftest import NOW, caught_up
from tests.landing import Delivery, delivery, land

HOUR = hour_of(NOW)
DONE = caught_up(NOW + timedelta(hours=5))
BAD = Delivery(b'{"bad": 1}', NOW, "f" * 32)


def test_every_record_in_exactly_one_place_is_balanced(lake: Lake, warehouse: DuckDBWarehouse) -> None:
    twice = delivery(NOW, "a", NOW)
    land(lake, [twice, twice, delivery(NOW, "a", NOW + timedelta(seconds=1)), BAD], "one")
    publish_failed_events(HOUR, lake, warehouse)

    balance = publish_balance(HOUR, lake, warehouse, DONE)

    assert balance.state == "balanced"
    assert (balance.raw_records, balance.enriched_records, balance.failed_records) == (3, 2, 1)
    assert balance.repeated_deliveries == 1
    assert balance.failures_by_type == '{"schema_violation":1}'


def test_a_deficit_of_one_is_red(lake: Lake, warehouse: DuckDBWarehouse) -> None:
    land(lake, [delivery(NOW, f"click-{i}", NOW) for i in range(100)], "one")
    land(lake, [delivery(NOW, "lost", NOW)], "two", enriched=False)

    balance = publish_balance(HOUR, lake, warehouse, DONE)

    assert (balance.state, balance.missing_records, balance.unknown_records) == ("red", 1, 0)


def test_equal_counts_of_different_records_are_red(lake: Lake, warehouse: DuckDBWarehouse) -> None:
    land(lake, [delivery(NOW, "a", NOW)], "one")
    land(lake, [delivery(NOW, "b", NOW)], "two", enriched=False)
    land(lake, [delivery(NOW, "c", NOW)], "three")
    lake.path(f"{hour_prefix('raw', HOUR)}/three.json.gz").unlink()

    balance = publish_balance(HOUR, lake, warehouse, DONE)

    assert balance.raw_records == balance.enriched_records
    assert (balance.state, balance.missing_records, balance.unknown_records) == ("red", 1, 1)


def test_a_record_that_a_retry_landed_on_both_sides_counts_as_enriched(lake: Lake, warehouse: DuckDBWarehouse) -> None:
    land(lake, [BAD], "one")
    publish_failed_events(HOUR, lake, warehouse)
    land(lake, [Delivery(delivery(NOW, "a", NOW).event, NOW, BAD.record_id)], "two")

    balance = publish_balance(HOUR, lake, warehouse, DONE)

    assert (balance.state, balance.enriched_records, balance.failed_records) == ("balanced", 1, 0)


@pytest.mark.parametrize(("delivered", "raw", "missing"), [("9-8", 1, 0), ("9-9", 2, 1)])
def test_what_delivery_has_in_flight_is_left_out_of_an_open_hour(
    lake: Lake, warehouse: DuckDBWarehouse, delivered: str, raw: int, missing: int
) -> None:
    shard = "shardId-000000000000"
    land(lake, [delivery(NOW, "a", NOW)], f"{shard}-1-1-9-8")
    land(lake, [delivery(NOW, "b", NOW)], f"{shard}-9-9-9-9", enriched=False)

    balance = publish_balance(HOUR, lake, warehouse, caught_up(NOW, **{shard: delivered}))

    assert (balance.state, balance.raw_records, balance.missing_records) == ("open", raw, missing)


def test_an_hour_is_open_while_a_shard_was_never_delivered(lake: Lake, warehouse: DuckDBWarehouse) -> None:
    land(lake, [delivery(NOW, "a", NOW)], "one")
    balance = publish_balance(HOUR, lake, warehouse, caught_up(None))
    assert (balance.state, balance.failures_by_type) == ("open", "{}")


def test_the_version_of_an_event_hour_changes_with_its_rows_alone(lake: Lake, warehouse: DuckDBWarehouse) -> None:
    old = NOW - timedelta(days=40)
    land(lake, [delivery(NOW, "a", NOW)], "one")
    before = publish_balance(HOUR, lake, warehouse, DONE)
    seal(HOUR, lake, warehouse)
    assert publish_balance(HOUR, lake, warehouse, DONE) == before

    land(lake, [delivery(old, "late", NOW)], "two")
    after = publish_balance(HOUR, lake, warehouse, DONE)

    assert after.touched_event_hours[1:] == before.touched_event_hours
    assert (after.touched_event_hours[0].event_hour, after.touched_event_hours[0].events) == (hour_of(old), 1)


def test_an_event_hour_that_lost_its_rows_is_remembered(lake: Lake, warehouse: DuckDBWarehouse) -> None:
    land(lake, [delivery(NOW - timedelta(hours=3), "a", NOW)], "one")
    publish_balance(HOUR, lake, warehouse, DONE)
    lake.path(f"{hour_prefix('enriched_landing', HOUR)}/one.parquet").unlink()

    (touched,) = publish_balance(HOUR, lake, warehouse, DONE).touched_event_hours

    assert (touched.event_hour, touched.events) == (hour_of(NOW - timedelta(hours=3)), 0)
