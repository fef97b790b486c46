"""Faults in what a transform answers."""

import json
import sys
from datetime import UTC, datetime

import pytest

from streaming.domain.envelope import new_record_ids, stamp
from streaming.domain.timestamps import format_timestamp
from tests.faults.platform import Platform
from tests.landing import event_text

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

# One request takes all that a test puts on a shard at once.
SETTINGS = {
    "CLICKSTREAM_DELIVERY_BUFFER_BYTES": "20000000",
    "CLICKSTREAM_DELIVERY_TRANSFORM_BYTES": "5500000",
    "CLICKSTREAM_LEASE_SECONDS": "1",
}


def test_11_a_transform_answer_larger_than_6_mb(platform: Platform) -> None:
    platform.stop("delivery")
    for first in range(0, 9_500, 500):
        platform.put(_tiny_event(number) for number in range(first, first + 500))
    platform.resume("delivery")
    summary = platform.expect_invariant()
    failures = platform.query("SELECT type, error_code, attempts, count(*) AS n FROM failed_events GROUP BY ALL")
    overflow = summary["failed"]
    assert failures == [
        {"type": "processing_failed", "error_code": "Lambda.ProcessingFailedStatus", "attempts": 1, "n": overflow}
    ]
    assert summary["enriched"] > 5_000
    assert overflow > 500


def test_12_record_ids_missing_doubled_and_reordered_in_an_answer(platform: Platform) -> None:
    now = datetime.now(UTC)
    clicks = {identity: f"crooked-{number}" for number, identity in enumerate(new_record_ids(20))}
    platform.stop("delivery")
    platform.put(
        stamp(event_text(now, click), identity, format_timestamp(now), None) for identity, click in clicks.items()
    )
    with platform.process(sys.executable, "-m", "tests.faults.crooked_transform"):
        platform.wait_delivered()
    platform.resume("delivery")
    platform.expect_invariant()
    missing, doubled, *answered = clicks
    rows = platform.query("SELECT record_id, click_id FROM enriched_events WHERE click_id LIKE 'crooked-%'")
    assert {row["record_id"]: row["click_id"] for row in rows} == {key: clicks[key] for key in answered}
    failed = platform.query("SELECT record_id, error_code FROM failed_events WHERE error_code LIKE '%RecordId'")
    assert {row["record_id"]: row["error_code"] for row in failed} == {
        missing: "Lambda.MissingRecordId",
        doubled: "Lambda.DuplicatedRecordId",
    }


def _tiny_event(number: int) -> bytes:
    """As few bytes as the contract allows: its row takes three times as many."""
    moment = f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S}"
    event = {
        "timestamp": moment, "user_id": "20", "pixel_id": "p", "click_id": f"{number}", "event_name": "Search",
        "insertion_timestamp": moment,
    }  # fmt: skip
    return json.dumps(event, separators=(",", ":")).encode()
