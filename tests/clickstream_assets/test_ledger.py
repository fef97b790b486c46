"""The ledger compares identities: one record too few or too many is red."""

from datetime import datetime, timedelta

import pytest

from clickstream_assets import pending
from clickstream_assets.enriched.enrich import milliseconds
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


SHARD = "shardId-000000000000"


def sequence_number(moment: datetime, ordinal: int) -> str:
    return f"{milliseconds(moment):015d}-{ordinal:012d}"


def flush(first: str, last: str, shard: str = SHARD) -> str:
    return f"{shard}-{first}-{last}"


@pytest.mark.parametrize(("delivered", "raw", "missing"), [(8, 1, 0), (9, 2, 1)])
def test_what_delivery_has_in_flight_is_left_out_of_an_open_hour(
    lake: Lake, warehouse: DuckDBWarehouse, delivered: int, raw: int, missing: int
) -> None:
    eighth, ninth = sequence_number(NOW, 8), sequence_number(NOW, 9)
    land(lake, [delivery(NOW, "a", NOW)], flush(eighth, eighth))
    land(lake, [delivery(NOW, "b", NOW)], flush(ninth, ninth), enriched=False)

    balance = publish_balance(HOUR, lake, warehouse, caught_up(NOW, **{SHARD: sequence_number(NOW, delivered)}))

    assert (balance.state, balance.raw_records, balance.missing_records) == ("open", raw, missing)


def test_a_late_flush_into_a_closed_hour_opens_it_until_delivery_has_passed_it(
    lake: Lake, warehouse: DuckDBWarehouse
) -> None:
    later = NOW + timedelta(hours=5)
    first, second = sequence_number(NOW, 1), sequence_number(later, 2)
    land(lake, [delivery(NOW, "a", NOW)], flush(first, first))
    seal(HOUR, lake, warehouse)
    assert publish_balance(HOUR, lake, warehouse, caught_up(later, **{SHARD: first})).state == "balanced"

    land(lake, [delivery(NOW, "b", NOW)], flush(second, second), enriched=False)
    half_written = caught_up(later, **{SHARD: first})
    balance = publish_balance(HOUR, lake, warehouse, half_written)
    assert (balance.state, balance.raw_records, balance.missing_records) == ("open", 1, 0)
    assert pending.arrival_hours(lake, half_written) == pending.ArrivalHours([], [HOUR])

    land(lake, [delivery(NOW, "b", NOW)], flush(second, second))
    publish_balance(HOUR, lake, warehouse, half_written)
    whole = caught_up(later, **{SHARD: second})
    assert pending.arrival_hours(lake, whole) == pending.ArrivalHours([HOUR], [])
    balance = publish_balance(HOUR, lake, warehouse, whole)
    assert (balance.state, balance.raw_records, balance.missing_records) == ("balanced", 2, 0)


@pytest.mark.parametrize(
    "name",
    [
        "heal-0123",
        flush(sequence_number(NOW, 7), sequence_number(NOW, 9)),  # of a stream that began anew, and counts from one
        flush(sequence_number(NOW, 1), sequence_number(NOW, 1), "shardId-000000000007"),  # of more shards than now
    ],
)
def test_a_file_that_nobody_is_writing_is_not_in_flight(lake: Lake, warehouse: DuckDBWarehouse, name: str) -> None:
    land(lake, [delivery(NOW, "a", NOW)], name)
    assert publish_balance(HOUR, lake, warehouse, DONE).state == "balanced"


def test_a_failure_that_is_not_collected_yet_leaves_an_hour_open(lake: Lake, warehouse: DuckDBWarehouse) -> None:
    land(lake, [BAD], "one")
    assert publish_balance(HOUR, lake, warehouse, DONE).state == "open"
    publish_failed_events(HOUR, lake, warehouse)
    assert pending.arrival_hours(lake, DONE).closed == [HOUR]
    assert publish_balance(HOUR, lake, warehouse, DONE).state == "balanced"


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
