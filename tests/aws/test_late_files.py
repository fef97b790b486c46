"""Files as Firehose lands them after trouble of its own: nothing is lost, stays red or is counted twice."""

import gzip
from datetime import UTC, datetime, timedelta

import pytest

from resources.aws.s3 import listing as s3_listing
from streaming.domain.tables import EVENT_LEDGER, FAILED_EVENTS, FLATTENED_EVENTS
from streaming.edges.error_output import Failure, error_line
from streaming.edges.event_stream import StreamRecord
from streaming.runtime.transform import Transform
from tests import s3_lakes
from tests.aws.conftest import Platform, deliver
from tests.aws.firehose import PROCESSING_FAILED
from tests.aws.test_graph import left_to_do, record
from tests.landing import event_text

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

ELEVEN = datetime(2026, 11, 20, 11, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def stamped(number: int, arrival: datetime) -> StreamRecord:
    return record(number, event_text(arrival, f"click-{number}"), arrival)


def bare(number: int, arrival: datetime) -> StreamRecord:
    """An event that was put straight on the stream."""
    return stamped(number, arrival)._replace(data=event_text(arrival, f"click-{number}") + b"\n")


def balances(platform: Platform) -> set[tuple[str, int, int]]:
    return set(platform.rows(EVENT_LEDGER, "state, missing_records, unknown_records"))


def clicks(platform: Platform) -> list[str]:
    return sorted(click for (click,) in platform.rows(FLATTENED_EVENTS, "click_id"))


def test_hours_that_firehose_was_behind_come_in_one_file(aws_platform: Platform, transform: Transform) -> None:
    minutes = (-121, -40, -30, 0, 70)
    deliver(
        [stamped(number, ELEVEN + minute * MINUTE) for number, minute in enumerate(minutes)],
        transform,
        aws_platform.settings,
    )

    aws_platform.catch_up()

    assert clicks(aws_platform) == [f"click-{number}" for number, _ in enumerate(minutes)]
    assert balances(aws_platform) == {("balanced", 0, 0)}
    assert left_to_do(aws_platform) == []


def test_events_without_an_edge_balance_on_both_sides_of_an_hours_boundary(
    aws_platform: Platform, transform: Transform
) -> None:
    deliver([bare(1, ELEVEN - MINUTE), bare(2, ELEVEN + MINUTE)], transform, aws_platform.settings)

    aws_platform.catch_up()

    assert balances(aws_platform) == {("balanced", 0, 0)}
    assert clicks(aws_platform) == ["click-1", "click-2"]
    assert left_to_do(aws_platform) == []


def test_failures_that_come_a_day_after_their_hour_was_sealed_change_no_count(
    aws_platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """13: the transform failed a batch, and the error prefix took its file only after the longest of retries."""
    monkeypatch.setattr(s3_listing, "REMEMBERED_SECONDS", -1)  # else it is seen within the hour
    records = [stamped(number, ELEVEN + number * MINUTE) for number in range(3)]
    s3_lakes.deliver("raw", ELEVEN, ELEVEN + 5 * MINUTE, gzip.compress(b"".join(each.data for each in records)))
    aws_platform.catch_up()  # seals the hour with what raw alone has
    sealed = clicks(aws_platform), balances(aws_platform)

    failure = Failure("Lambda.FunctionError", "timed out", 4)
    errors = b"".join(error_line(each, failure, "arn:aws:lambda") for each in records)
    s3_lakes.deliver(PROCESSING_FAILED, ELEVEN, ELEVEN + timedelta(hours=24), errors)
    before = left_to_do(aws_platform)
    aws_platform.catch_up()

    assert ELEVEN in before
    assert sealed == ([f"click-{number}" for number in range(3)], {("balanced", 0, 0)})
    assert (clicks(aws_platform), balances(aws_platform)) == sealed
    assert {state for (state,) in aws_platform.rows(FAILED_EVENTS, "state")} == {"enriched"}
    assert left_to_do(aws_platform) == []
