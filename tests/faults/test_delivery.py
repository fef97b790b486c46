"""Faults of the delivery to the lake."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from streaming.domain.layout import hour_of
from streaming.domain.tables import ENRICHED_LANDING
from tests.faults.platform import Platform
from tests.landing import event_text

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

StartPlatform = Callable[..., Platform]


def test_13_the_transform_times_out_until_the_retries_end(start_platform: StartPlatform) -> None:
    platform = start_platform(CLICKSTREAM_FUNCTION_TIMEOUT_SECONDS="1", CLICKSTREAM_LOOKUP_DEADLINE_SECONDS="60")
    now = datetime.now(UTC)
    platform.stop("cache-redis")
    platform.put(event_text(now, f"timed-out-{number}") for number in range(50))
    platform.wait(lambda: platform.behind("delivery") == 0)
    platform.resume("cache-redis")
    platform.expect_invariant()
    failed = platform.query("SELECT type, error_code, attempts, COUNT(*) AS n FROM failed_events GROUP BY ALL")
    assert failed == [{"type": "processing_failed", "error_code": "Lambda.FunctionTimedOut", "attempts": 4, "n": 50}]


def test_14_a_batch_is_delivered_twice_also_across_an_hours_boundary(start_platform: StartPlatform) -> None:
    platform = start_platform(CLICKSTREAM_LEASE_SECONDS="3")
    boundary = hour_of(datetime.now(UTC)) - timedelta(hours=1)
    before, after = boundary - timedelta(seconds=2), boundary + timedelta(seconds=2)
    texts = [event_text(before - timedelta(seconds=n), f"twice-{n}") for n in range(10)]
    platform.stop("delivery")
    records = platform.put_at(before, texts)
    platform.put_records_at(after, records)  # the stream has them twice, on both sides of the hour
    platform.put_at(after, texts)  # the client sent them twice
    with platform.stream_takes_no_writes():
        platform.resume("delivery")
        platform.wait(lambda: len(_landed(platform)) == 2)
        platform.kill("delivery")  # its files are written, its checkpoint is not
    platform.put_at(after + timedelta(seconds=1), [event_text(after, "once")])
    summary = platform.expect_invariant()
    assert len(_landed(platform)) > 2
    assert (summary["raw"], summary["enriched"], summary["flattened"]) == (21, 21, 11)
    [sealed] = platform.query("SELECT COUNT(*) AS n FROM enriched_events")
    assert sealed["n"] == 21


def _landed(platform: Platform) -> list[Path]:
    return list((platform.lake / ENRICHED_LANDING.prefix).rglob("[!.]*.parquet"))
