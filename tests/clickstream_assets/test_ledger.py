"""The ledger compares identities: one record too few or too many is red."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clickstream_assets import pending
from clickstream_assets.enriched.seal import enrich_anew, seal
from clickstream_assets.failed.collect import publish_failed_events
from clickstream_assets.ledger.balance import first_deficits, publish_balance
from resources.lake import DirectoryLake, partition_file
from resources.warehouse import DuckDBWarehouse, sql_file
from streaming.domain.layout import hour_of, hour_prefix
from streaming.domain.tables import LEDGER_DEFICITS
from streaming.domain.timestamps import milliseconds
from tests.clickstream_assets.conftest import NOW, KnownLookUps, caught_up
from tests.landing import Delivery, delivery, land

HOUR = hour_of(NOW)
DONE = caught_up(NOW + timedelta(hours=5))
BAD = Delivery(b'{"bad": 1}', NOW, "f" * 32)


def test_every_record_in_exactly_one_place_is_balanced(lake: DirectoryLake, warehouse: DuckDBWarehouse) -> None:
    twice = delivery(NOW, "a", NOW)
    land(lake, [twice, twice, delivery(NOW, "a", NOW + timedelta(seconds=1)), BAD], "one")
    publish_failed_events(HOUR, lake, warehouse)

    balance = publish_balance(HOUR, lake, warehouse, DONE)

    assert balance.state == "balanced"
    assert (balance.raw_records, balance.enriched_records, balance.failed_records) == (3, 2, 1)
    assert balance.repeated_deliveries == 1
    assert balance.failures_by_type == '{"schema_violation":1}'


def test_a_deficit_of_one_is_red(lake: DirectoryLake, warehouse: DuckDBWarehouse) -> None:
    land(lake, [delivery(NOW, f"click-{i}", NOW) for i in range(100)], "one")
    land(lake, [delivery(NOW, "lost", NOW)], "two", enriched=False)

    balance = publish_balance(HOUR, lake, warehouse, DONE)

    assert (balance.state, balance.missing_records, balance.unknown_records) == ("red", 1, 0)


def test_equal_counts_of_different_records_are_red(lake: DirectoryLake, warehouse: DuckDBWarehouse) -> None:
    land(lake, [delivery(NOW, "a", NOW)], "one")
    land(lake, [delivery(NOW, "b", NOW)], "two", enriched=False)
    land(lake, [delivery(NOW, "c", NOW)], "three")
    lake.path(f"{hour_prefix('raw', HOUR)}/three.json.gz").unlink()

    balance = publish_balance(HOUR, lake, warehouse, DONE)

    assert balance.raw_records == balance.enriched_records
    assert (balance.state, balance.missing_records, balance.unknown_records) == ("red", 1, 1)


def test_a_record_that_a_retry_landed_on_both_sides_counts_as_enriched(
    lake: DirectoryLake, warehouse: DuckDBWarehouse
) -> None:
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
    lake: DirectoryLake, warehouse: DuckDBWarehouse, delivered: int, raw: int, missing: int
) -> None:
    eighth, ninth = sequence_number(NOW, 8), sequence_number(NOW, 9)
    land(lake, [delivery(NOW, "a", NOW)], flush(eighth, eighth))
    land(lake, [delivery(NOW, "b", NOW)], flush(ninth, ninth), enriched=False)

    balance = publish_balance(HOUR, lake, warehouse, caught_up(NOW, **{SHARD: sequence_number(NOW, delivered)}))

    assert (balance.state, balance.raw_records, balance.missing_records) == ("open", raw, missing)


def test_a_late_flush_into_a_closed_hour_opens_it_until_delivery_has_passed_it(
    lake: DirectoryLake, warehouse: DuckDBWarehouse
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
def test_a_file_that_nobody_is_writing_is_not_in_flight(
    lake: DirectoryLake, warehouse: DuckDBWarehouse, name: str
) -> None:
    land(lake, [delivery(NOW, "a", NOW)], name)
    assert publish_balance(HOUR, lake, warehouse, DONE).state == "balanced"


def test_a_failure_that_is_not_collected_yet_leaves_an_hour_open(
    lake: DirectoryLake, warehouse: DuckDBWarehouse
) -> None:
    land(lake, [BAD], "one")
    assert publish_balance(HOUR, lake, warehouse, DONE).state == "open"
    publish_failed_events(HOUR, lake, warehouse)
    assert pending.arrival_hours(lake, DONE).closed == [HOUR]
    assert publish_balance(HOUR, lake, warehouse, DONE).state == "balanced"


def test_what_failed_after_failures_were_collected_is_not_missing(
    lake: DirectoryLake, warehouse: DuckDBWarehouse
) -> None:
    land(lake, [delivery(NOW, "a", NOW)], "one")
    publish_failed_events(HOUR, lake, warehouse)
    land(lake, [BAD], "two")

    balance = publish_balance(HOUR, lake, warehouse, caught_up(NOW + timedelta(minutes=1)))

    assert (balance.state, balance.failed_records, balance.missing_records) == ("open", 1, 0)


class InterruptedWarehouse(DuckDBWarehouse):
    """Another run does its work once a statement is done, and before its answer is published."""

    def __init__(self, statement: str, interrupt: Callable[[], object], temp_directory: Path) -> None:
        super().__init__(200_000_000, temp_directory)
        self._statement = sql_file(statement)
        self._interrupts = iter([interrupt])

    def save(self, statement: str, *rest: Any) -> int:
        rows = super().save(statement, *rest)
        if statement == self._statement:
            for interrupt in self._interrupts:
                interrupt()
        return rows


@pytest.mark.parametrize("statement", ["ledger/shared_clicks", "ledger/identities", "ledger/event_ledger"])
def test_an_hour_that_is_sealed_while_it_is_balanced_is_balanced_as_it_was_sealed(
    lake: DirectoryLake, warehouse: DuckDBWarehouse, tmp_path: Path, statement: str
) -> None:
    land(lake, [delivery(NOW, "a", NOW)], "one")
    seal(HOUR, lake, warehouse)
    land(lake, [delivery(NOW, "b", NOW)], "two")
    interrupted = InterruptedWarehouse(
        statement, lambda: enrich_anew(HOUR, lake, warehouse, KnownLookUps()), tmp_path / "interrupted"
    )

    balance = publish_balance(HOUR, lake, interrupted, DONE)

    assert balance.touched_event_hours[0].events == 2
    assert balance == publish_balance(HOUR, lake, warehouse, DONE)


def test_an_hour_is_open_while_a_shard_was_never_delivered(lake: DirectoryLake, warehouse: DuckDBWarehouse) -> None:
    land(lake, [delivery(NOW, "a", NOW)], "one")
    balance = publish_balance(HOUR, lake, warehouse, caught_up(None))
    assert (balance.state, balance.failures_by_type) == ("open", "{}")


def test_the_version_of_an_event_hour_changes_with_its_rows_alone(
    lake: DirectoryLake, warehouse: DuckDBWarehouse
) -> None:
    old = NOW - timedelta(days=40)
    land(lake, [delivery(NOW, "a", NOW)], "one")
    before = publish_balance(HOUR, lake, warehouse, DONE)
    seal(HOUR, lake, warehouse)
    assert publish_balance(HOUR, lake, warehouse, DONE) == before

    land(lake, [delivery(old, "late", NOW)], "two")
    after = publish_balance(HOUR, lake, warehouse, DONE)

    assert after.touched_event_hours[1:] == before.touched_event_hours
    assert (after.touched_event_hours[0].event_hour, after.touched_event_hours[0].events) == (hour_of(old), 1)


def test_an_event_hour_that_lost_its_rows_is_remembered(lake: DirectoryLake, warehouse: DuckDBWarehouse) -> None:
    land(lake, [delivery(NOW - timedelta(hours=3), "a", NOW)], "one")
    publish_balance(HOUR, lake, warehouse, DONE)
    lake.path(f"{hour_prefix('enriched_landing', HOUR)}/one.parquet").unlink()

    (touched,) = publish_balance(HOUR, lake, warehouse, DONE).touched_event_hours

    assert (touched.event_hour, touched.events) == (hour_of(NOW - timedelta(hours=3)), 0)


def deficits(lake: DirectoryLake, hour: datetime = HOUR) -> set[tuple[str, str]]:
    rows = pq.read_table(lake.path(partition_file(LEDGER_DEFICITS, hour)), partitioning=None).to_pylist()
    assert all(row["arrival_hour"] == hour.replace(tzinfo=None) for row in rows)
    return {(row["side"], row["record_id"]) for row in rows}


def test_what_keeps_an_hour_from_balancing_is_named_until_it_balances(
    lake: DirectoryLake, warehouse: DuckDBWarehouse
) -> None:
    lost, unknown = delivery(NOW, "lost", NOW), delivery(NOW, "unknown", NOW)
    land(lake, [delivery(NOW, f"click-{i}", NOW) for i in range(9)], "one")
    land(lake, [lost], "two", enriched=False)
    land(lake, [unknown], "three")
    raw = lake.path(f"{hour_prefix('raw', HOUR)}/three.json.gz")
    kept = raw.read_bytes()
    raw.unlink()

    assert publish_balance(HOUR, lake, warehouse, DONE).state == "red"
    assert deficits(lake) == {("missing", lost.record_id), ("unknown", unknown.record_id)}
    assert first_deficits(HOUR, lake) == {"missing": [lost.record_id], "unknown": [unknown.record_id]}

    raw.write_bytes(kept)
    land(lake, [lost], "two")
    assert publish_balance(HOUR, lake, warehouse, DONE).state == "balanced"
    assert deficits(lake) == set()


def test_an_hour_that_always_balanced_has_no_file_of_deficits(lake: DirectoryLake, warehouse: DuckDBWarehouse) -> None:
    land(lake, [delivery(NOW, "a", NOW)], "one")
    publish_balance(HOUR, lake, warehouse, DONE)
    assert lake.partition(LEDGER_DEFICITS, HOUR) is None


def test_rows_that_an_outage_left_without_a_name_or_a_place_are_counted(
    lake: DirectoryLake, warehouse: DuckDBWarehouse
) -> None:
    reasons = [(), ("name:lookup_failed",), ("name:unknown_user",), ("name:unknown_user", "place:lookup_failed")]
    land(lake, [replace(delivery(NOW, str(i), NOW), reasons=each) for i, each in enumerate(reasons)], "one")
    assert publish_balance(HOUR, lake, warehouse, DONE).degraded_records == 2


@pytest.mark.parametrize(
    ("change", "conflicting"),
    [
        ({}, 0),
        ({"user_ip": "8.8.8.8"}, 0),  # another network
        ({"user_id": "21"}, 1),
        ({"additional_data": {"price": 1}}, 1),
        ({"colour": "red"}, 1),
        ({"insertion_timestamp": f"{NOW:%Y-%m-%d %H:%M:%S}.5"}, 1),
    ],
)
def test_copies_of_a_click_that_differ_in_what_the_client_sent_are_in_conflict(
    lake: DirectoryLake, warehouse: DuckDBWarehouse, change: dict[str, Any], conflicting: int
) -> None:
    land(lake, [delivery(NOW, "a", NOW), delivery(NOW, "a", NOW + timedelta(seconds=1), **change)], "one")
    balance = publish_balance(HOUR, lake, warehouse, DONE)
    assert (balance.state, balance.repeated_clicks, balance.conflicting_clicks) == ("balanced", 1, conflicting)
    assert balance.conflict_examples == ["a"] * conflicting


def test_a_click_under_two_event_hours_is_in_conflict(lake: DirectoryLake, warehouse: DuckDBWarehouse) -> None:
    land(lake, [delivery(NOW, "a", NOW), delivery(NOW - timedelta(hours=1), "a", NOW)], "one")
    assert publish_balance(HOUR, lake, warehouse, DONE).conflicting_clicks == 1


# Hours of arrival and of event time are few, so that clicks meet; an event is known by the minute it happened in.
sent = st.tuples(
    st.integers(0, 2), st.integers(0, 2), st.sampled_from("abcde"), st.sampled_from(["1", "2"]), st.integers(0, 9)
)


@settings(max_examples=8)
@given(st.lists(sent, max_size=30))
def test_conflicts_are_those_that_a_plain_comparison_over_the_touched_hours_finds(
    tmp_path_factory: pytest.TempPathFactory, events: list[tuple[int, int, str, str, int]]
) -> None:
    lake = DirectoryLake(tmp_path_factory.mktemp("lake"))
    warehouse = DuckDBWarehouse(200_000_000, lake.root / ".duckdb")
    hours = {number: HOUR + timedelta(hours=number) for number in range(3)}
    rows = [
        (arrived, min(happened, arrived), click, user, second)
        for arrived, happened, click, user, second in dict.fromkeys(events)
    ]
    for arrived in hours:
        own = [row for row in rows if row[0] == arrived]
        if own:
            land(lake, [_delivered(hours, row) for row in own], "one")
    arrivals = sorted({row[0] for row in rows})
    for arrived in arrivals:
        publish_balance(hours[arrived], lake, warehouse, caught_up(NOW + timedelta(days=1)))
    for arrived in arrivals:
        balance = publish_balance(hours[arrived], lake, warehouse, caught_up(NOW + timedelta(days=1)))
        touched = {row[1] for row in rows if row[0] == arrived}
        contents: dict[str, set[tuple[int, str]]] = {}
        for _, happened, click, user, _ in (row for row in rows if row[0] == arrived or row[1] in touched):
            contents.setdefault(click, set()).add((happened, user))
        own = [row[2] for row in rows if row[0] == arrived]
        expected = sorted(click for click in set(own) if len(contents[click]) > 1)
        assert balance.repeated_clicks == len(own) - len(set(own))
        assert (balance.conflicting_clicks, balance.conflict_examples) == (len(expected), expected[:5])


def _delivered(hours: dict[int, datetime], row: tuple[int, int, str, str, int]) -> Delivery:
    arrived, happened, click, user, second = row
    arrival = hours[arrived] + timedelta(minutes=1, seconds=second)
    identity = hashlib.sha256(repr(row).encode()).hexdigest()[:32]
    return replace(delivery(hours[happened], click, arrival, user_id=user), record_id=identity)
