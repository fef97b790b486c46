"""Failed events are replayed: what passes now is landed as it arrived, what fails again stays, and twice is as once."""

import gzip
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pybase64
import pytest

from clickstream_assets import pending
from clickstream_assets.enriched.seal import enriched_files, seal_hour
from clickstream_assets.failed.collect import publish_failed_events
from clickstream_assets.failed.errors import ErrorLine
from clickstream_assets.failed.replay import Choice, ConsumerFailingError, Function, Replayed, replay
from clickstream_assets.ledger.balance import Balance, publish_balance
from clickstream_assets.partitions import hour_key
from resources.lake import DirectoryLake, partition_file
from resources.warehouse import DuckDBWarehouse
from streaming.domain.enrichment import CODE_VERSION
from streaming.domain.layout import hour_of, hour_prefix
from streaming.domain.tables import FAILED_EVENTS
from streaming.domain.timestamps import milliseconds
from streaming.handlers.records import event_judge, good_events
from tests.clickstream_assets.conftest import NOW, KnownLookUps, caught_up
from tests.landing import Delivery, delivery, event_text, land

HOUR = hour_of(NOW)
DONE = caught_up(NOW + timedelta(hours=5))
EVERYTHING = Choice()
BAD = Delivery(b'{"bad": 1}', NOW, "f" * 32)


def fail(
    lake: DirectoryLake, records: list[Delivery], stage: str = "enrichment", name: str = "failed", *, raw: bool = True
) -> None:
    """Error files as delivery and consumers write them; `raw`: with the raw copy of the records."""
    if raw:
        land(lake, records, name, enriched=False)
    lines = [
        ErrorLine(
            4, milliseconds(each.arrival), "Lambda.FunctionTimedOut", "timed out",
            pybase64.b64encode_as_string(each.envelope.data),
        )
        for each in records
    ]  # fmt: skip
    data = gzip.compress(b"".join(msgspec.json.encode(line) + b"\n" for line in lines))
    lake.publish(f"{hour_prefix(f'failed/{stage}', hour_of(records[0].arrival))}/{name}.json.gz", data)


def settle(lake: DirectoryLake, warehouse: DuckDBWarehouse, hour: datetime = HOUR) -> Balance:
    seal_hour(hour, lake, warehouse, KnownLookUps(), from_raw=None)
    publish_failed_events(hour, lake, warehouse)
    return publish_balance(hour, lake, warehouse, DONE)


def replayed(
    lake: DirectoryLake,
    warehouse: DuckDBWarehouse,
    choice: Choice = EVERYTHING,
    functions: Mapping[str, Function] | None = None,
    *,
    dry_run: bool = False,
) -> Replayed:
    return replay(choice, lake, warehouse, KnownLookUps, functions or {}, dry_run=dry_run)


def failed_events(lake: DirectoryLake, hour: datetime = HOUR) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(
        lake.path(partition_file(FAILED_EVENTS, hour)), partitioning=None
    ).to_pylist()
    return rows


def outcomes(lake: DirectoryLake, hour: datetime) -> list[dict[str, Any]]:
    lines = b"".join(gzip.decompress(file.read_bytes()) for file in lake.list_hour("replays", hour))
    return [msgspec.json.decode(line) for line in lines.splitlines()]


def landed(lake: DirectoryLake, hour: datetime = HOUR) -> dict[str, dict[str, Any]]:
    tables = [pq.read_table(file, partitioning=None) for file in enriched_files(hour, lake)]
    return {row["record_id"]: row for row in pa.concat_tables(tables).to_pylist()}


def test_what_passes_now_is_landed_under_its_own_identity_and_arrival_and_the_hour_balances(
    lake: DirectoryLake, warehouse: DuckDBWarehouse
) -> None:
    timed_out = delivery(NOW - timedelta(hours=3), "a", NOW + timedelta(microseconds=7))
    fail(lake, [timed_out, BAD])
    before = settle(lake, warehouse)
    assert (before.state, before.failed_records) == ("balanced", 2)

    told = replayed(lake, warehouse)

    assert (told.passed, dict(told.failed_again)) == ({"processing_failed": 1}, {("schema_violation", "/click_id"): 1})
    row = landed(lake)[timed_out.record_id]
    assert row["arrival_timestamp"] == timed_out.arrival.replace(tzinfo=None)
    assert row["name"] == "Ada Lovelace"
    assert pending.arrival_hours(lake, DONE).closed == [HOUR]
    after = settle(lake, warehouse)
    assert (after.state, after.enriched_records, after.failures_by_type) == ("balanced", 1, '{"schema_violation":1}')
    states = {row["record_id"]: (row["state"], row["replayed_at"] is not None) for row in failed_events(lake)}
    assert states == {timed_out.record_id: ("replayed", True), BAD.record_id: ("failed", False)}


def test_replaying_twice_is_as_once(lake: DirectoryLake, warehouse: DuckDBWarehouse) -> None:
    fail(lake, [delivery(NOW, f"click-{i}", NOW) for i in range(50)] + [BAD])
    replayed(lake, warehouse)
    files = {file: file.read_bytes() for file in lake.root.rglob("*") if file.is_file()}

    again = replayed(lake, warehouse)

    assert (again.chosen, again.passed.total(), again.failed_again.total()) == (1, 0, 1)
    assert {file: file.read_bytes() for file in lake.root.rglob("*") if file.is_file()} == files


def test_a_replay_that_was_killed_before_it_told_of_its_outcome_is_no_failure_any_more(
    lake: DirectoryLake, warehouse: DuckDBWarehouse
) -> None:
    record = delivery(NOW, "a", NOW)
    fail(lake, [record])
    replayed(lake, warehouse)
    for told in lake.list_hour("replays", HOUR):
        told.unlink()

    assert replayed(lake, warehouse).chosen == 0
    assert settle(lake, warehouse).failed_records == 0
    assert [row["state"] for row in failed_events(lake)] == ["enriched"]


def test_a_dry_run_tells_what_would_pass_and_writes_nothing(lake: DirectoryLake, warehouse: DuckDBWarehouse) -> None:
    fail(lake, [delivery(NOW, "a", NOW), BAD])
    files = sorted(lake.root.rglob("*.*"))

    told = replayed(lake, warehouse, dry_run=True)

    assert (told.dry_run, told.chosen, told.passed.total(), told.failed_again.total()) == (True, 2, 1, 1)
    assert "click_id" in told.reasons["schema_violation", "/click_id"]
    assert sorted(lake.root.rglob("*.*")) == files


LATER = NOW + timedelta(hours=1)


@pytest.mark.parametrize(
    ("choice", "chosen"),
    [
        (Choice(types=("schema_violation",)), {"f" * 32, "d" * 32}),
        (Choice(types=("malformed_json", "processing_failed")), {"e" * 32}),
        (Choice(stages=("delivery",)), {"d" * 32}),
        (Choice(record_ids=("d" * 32, "0" * 32)), {"d" * 32}),
        (Choice(first_hour=hour_of(LATER)), {"e" * 32}),
        (Choice(last_hour=HOUR), {"f" * 32, "d" * 32}),
        (Choice(types=("schema_violation",), first_hour=hour_of(LATER)), set()),
    ],
)
def test_failures_are_chosen_by_type_stage_hour_and_identity(
    lake: DirectoryLake, warehouse: DuckDBWarehouse, choice: Choice, chosen: set[str]
) -> None:
    fail(lake, [BAD])
    fail(lake, [Delivery(b"no json", LATER, "e" * 32)], name="later")
    fail(lake, [Delivery(b'{"timestamp": 3}', NOW, "d" * 32)], "delivery", "conversion")
    malformed = next(row["record_id"] for row in _failed_now(lake, warehouse) if row["type"] == "malformed_json")
    chosen = {malformed if each == "e" * 32 else each for each in chosen}

    replayed(lake, warehouse, choice)

    told = outcomes(lake, HOUR) + outcomes(lake, hour_of(LATER))
    assert {row["record_id"] for row in told} == chosen


def _failed_now(lake: DirectoryLake, warehouse: DuckDBWarehouse) -> list[dict[str, Any]]:
    for hour in (HOUR, hour_of(LATER)):
        publish_failed_events(hour, lake, warehouse)
    return failed_events(lake) + failed_events(lake, hour_of(LATER))


def test_the_history_of_what_fails_again_grows_with_what_is_new_alone(
    lake: DirectoryLake, warehouse: DuckDBWarehouse
) -> None:
    fail(lake, [BAD, *(Delivery(b'{"worse": %d}' % i, NOW, f"{i:032x}") for i in range(3))])
    assert replayed(lake, warehouse, Choice(record_ids=(BAD.record_id,))).failed_again.total() == 1
    assert replayed(lake, warehouse).failed_again.total() == 4
    replayed(lake, warehouse)

    told = outcomes(lake, HOUR)
    assert sorted(row["record_id"] for row in told) == sorted([BAD.record_id, *(f"{i:032x}" for i in range(3))])
    assert {(row["outcome"], row["type"]) for row in told} == {("failed", "schema_violation")}
    assert {row["handler_version"] for row in told} == {CODE_VERSION}


def test_one_that_no_fault_is_found_in_any_more_keeps_the_type_it_failed_for(
    lake: DirectoryLake, warehouse: DuckDBWarehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = delivery(datetime(2020, 5, 5, tzinfo=UTC), "a", NOW)
    fail(lake, [old])
    publish_failed_events(HOUR, lake, warehouse)
    assert [row["type"] for row in failed_events(lake)] == ["timestamp_out_of_range"]
    assert replayed(lake, warehouse).failed_again == {("timestamp_out_of_range", "/timestamp"): 1}

    monkeypatch.setenv("CLICKSTREAM_START", "2020-01-01")
    event_judge.cache_clear()
    try:
        publish_failed_events(HOUR, lake, warehouse)
        assert [(row["type"], row["field"]) for row in failed_events(lake)] == [
            ("timestamp_out_of_range", "/timestamp")
        ]
        told = replayed(lake, warehouse, Choice(types=("timestamp_out_of_range",)))
    finally:
        event_judge.cache_clear()

    assert told.passed == {"timestamp_out_of_range": 1}
    balance = settle(lake, warehouse)
    assert (balance.state, balance.enriched_records, balance.failed_records) == ("balanced", 1, 0)


class Seen:
    """A Lambda that notes the clicks it was given, and cannot process some of them."""

    def __init__(self, *poison: str, raises: bool = True) -> None:
        self.clicks: list[str] = []
        self._poison = poison
        self._raises = raises

    def __call__(self, event: dict[str, Any], context: object) -> dict[str, Any]:
        events = list(good_events(event))
        for position, each in enumerate(events):
            if each.event.click_id in self._poison:
                if self._raises:
                    raise RuntimeError("poison")
                self.clicks += [good.event.click_id for good in events[:position]]
                return {"batchItemFailures": [{"itemIdentifier": each.sequence_number}]}
        self.clicks += [each.event.click_id for each in events]
        return {"batchItemFailures": []}


@pytest.mark.parametrize("raises", [True, False])
def test_what_a_consumer_gave_up_is_given_to_it_again(
    lake: DirectoryLake, warehouse: DuckDBWarehouse, raises: bool
) -> None:
    records = [delivery(NOW, f"click-{i:03}", NOW) for i in range(230)]
    land(lake, records, "one")
    fail(lake, records, "last_access", raw=False)
    assert settle(lake, warehouse).failed_records == 0
    function = Seen("click-007", "click-120", raises=raises)

    told = replayed(lake, warehouse, functions={"last_access": function})

    assert (told.passed.total(), told.failed_again) == (228, {("processing_failed", ""): 2})
    assert sorted(set(function.clicks)) == sorted({f"click-{i:03}" for i in range(230)} - {"click-007", "click-120"})
    settle(lake, warehouse)
    still = [row["record_id"] for row in failed_events(lake) if row["state"] == "failed"]
    assert sorted(still) == sorted([records[7].record_id, records[120].record_id])
    function.clicks.clear()
    assert replayed(lake, warehouse, functions={"last_access": Seen()}).passed.total() == 2


def test_what_breaks_the_contract_fails_again_in_a_consumer_that_passes_it_by(
    lake: DirectoryLake, warehouse: DuckDBWarehouse
) -> None:
    fail(lake, [BAD, delivery(NOW, "a", NOW)], "last_access")
    settle(lake, warehouse)
    choice, functions = Choice(stages=("last_access",)), {"last_access": Seen()}

    foreseen = replayed(lake, warehouse, choice, functions, dry_run=True)
    told = replayed(lake, warehouse, choice, functions)

    assert (told.passed, dict(told.failed_again)) == ({"processing_failed": 1}, {("schema_violation", "/click_id"): 1})
    assert (foreseen.passed, foreseen.failed_again) == (told.passed, told.failed_again)


def test_a_consumer_that_fails_on_everything_ends_the_replay(lake: DirectoryLake, warehouse: DuckDBWarehouse) -> None:
    records = [delivery(NOW, f"click-{i:03}", NOW) for i in range(60)]
    land(lake, records, "one")
    fail(lake, records, "high_intent", raw=False)

    with pytest.raises(ConsumerFailingError, match=r"high_intent failed on 20 records in a row, .*poison"):
        replayed(lake, warehouse, functions={"high_intent": Seen(*(f"click-{i:03}" for i in range(60)))})


def test_a_record_that_failed_in_a_consumer_alone_is_not_accounted_for(
    lake: DirectoryLake, warehouse: DuckDBWarehouse
) -> None:
    left_out = delivery(NOW, "a", NOW)
    fail(lake, [left_out], "last_access")
    publish_failed_events(HOUR, lake, warehouse)
    assert publish_balance(HOUR, lake, warehouse, DONE).missing_records == 1

    assert seal_hour(HOUR, lake, warehouse, KnownLookUps(), from_raw=None).healed.first == [left_out.record_id]


def test_a_record_is_kept_as_failed_for_every_stage_it_failed_in(
    lake: DirectoryLake, warehouse: DuckDBWarehouse
) -> None:
    record = delivery(NOW, "a", NOW)
    land(lake, [record], "one")
    fail(lake, [record], "last_access", raw=False)
    fail(lake, [record], "high_intent", raw=False)
    functions = {"last_access": Seen("a"), "high_intent": Seen()}

    told = replayed(lake, warehouse, functions=functions)
    settle(lake, warehouse)

    assert (told.chosen, told.passed.total()) == (2, 1)
    assert {row["stage"]: row["state"] for row in failed_events(lake)} == {
        "high_intent": "replayed",
        "last_access": "failed",
    }


def test_error_files_in_firehoses_own_form_are_replayed(lake: DirectoryLake, warehouse: DuckDBWarehouse) -> None:
    bare = event_text(NOW, "a")
    line = {
        "attemptsMade": 4,
        "arrivalTimestamp": milliseconds(NOW),
        "errorCode": "Lambda.FunctionTimedOut",
        "errorMessage": "The Lambda function was not completed",
        "attemptEndingTimestamp": milliseconds(NOW) + 9_000,
        "rawData": pybase64.b64encode_as_string(bare),
        "lambdaArn": "arn:aws:lambda:eu-west-1:123456789012:function:enrichment:$LATEST",
    }
    lake.publish(
        f"{hour_prefix('failed/processing-failed', HOUR)}/firehose-1.gz", gzip.compress(msgspec.json.encode(line))
    )

    assert replayed(lake, warehouse).passed == {"processing_failed": 1}

    (row,) = landed(lake).values()
    assert (row["click_id"], row["arrival_timestamp"]) == ("a", NOW.replace(tzinfo=None))


def run_job(definitions: dg.Definitions, instance: dg.DagsterInstance, **config: Any) -> dg.ExecuteInProcessResult:
    return definitions.resolve_job_def("replay_failed_events").execute_in_process(
        instance=instance, run_config={"ops": {"replay_chosen_failures": {"config": config}}}
    )


def test_the_run_of_the_job_shows_its_outcome(
    definitions: dg.Definitions, instance: dg.DagsterInstance, lake: DirectoryLake
) -> None:
    fail(lake, [delivery(NOW, "a", NOW), BAD])

    result = run_job(definitions, instance, first_hour=hour_key(HOUR), stages=["enrichment"])

    [output] = [event for event in result.all_events if event.event_type is dg.DagsterEventType.STEP_OUTPUT]
    shown = {name: value.value for name, value in output.step_output_data.metadata.items()}
    assert (shown["chosen"], shown["passed"], shown["failed_again"]) == (2, 1, 1)
    assert shown["passed_by_type"] == {"processing_failed": 1}
    assert "is a required property" in shown["faults"]
    assert len(landed(lake)) == 1


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({}, "nothing is chosen; set everything: true"),
        ({"types": ["nonsense"]}, "no failure type nonsense; there are malformed_json"),
        ({"first_hour": "noon"}, "an hour is written 2026-11-23-04:00, not 'noon'"),
    ],
)
def test_the_job_refuses_what_cannot_be_meant(
    definitions: dg.Definitions, instance: dg.DagsterInstance, config: dict[str, Any], message: str
) -> None:
    with pytest.raises(dg.Failure, match=message):
        run_job(definitions, instance, **config)
