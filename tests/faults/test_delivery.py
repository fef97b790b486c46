"""Faults of the delivery to the lake."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from streaming.domain.layout import hour_of
from streaming.domain.tables import ENRICHED_LANDING
from tests.faults.platform import Platform
from tests.landing import event_text
from tests.streaming.ipinfo_stub import StubIpinfo, hang, locate

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

StartPlatform = Callable[..., Platform]


@pytest.fixture
def ipinfo() -> Iterator[StubIpinfo]:
    with StubIpinfo() as stub:
        yield stub


def test_13_the_transform_times_out_until_the_retries_end(start_platform: StartPlatform, ipinfo: StubIpinfo) -> None:
    platform = start_platform(
        IPINFO_TOKEN="secret",
        IPINFO_URL=ipinfo.url,
        CLICKSTREAM_LOOKUP_DEADLINE_SECONDS="60",
        CLICKSTREAM_FUNCTION_TIMEOUT_SECONDS="1",
    )
    now = datetime.now(UTC)
    ipinfo.answer = hang
    platform.put(event_text(now, f"timed-out-{number}") for number in range(50))
    platform.wait(lambda: platform.behind("delivery") == 0)
    ipinfo.answer = locate
    ipinfo.released.set()
    platform.expect_invariant()
    failed = "SELECT type, error_code, attempts, state, COUNT(*) AS n FROM failed_events GROUP BY ALL"
    kept = {"type": "processing_failed", "error_code": "Lambda.FunctionTimedOut", "attempts": 4, "n": 50}
    assert platform.query(failed) == [kept | {"state": "failed"}]
    platform.run("replay", "--type", "processing_failed")
    summary = platform.expect_invariant()
    assert (summary["enriched"], summary["failed"], summary["flattened"]) == (50, 0, 50)
    assert platform.query(failed) == [kept | {"state": "replayed"}]


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
