"""Records that no function can digest, put on the stream past the collector."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from streaming.domain.timestamps import format_timestamp
from tests.faults.platform import Platform
from tests.landing import event_text

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

SETTINGS = {"CLICKSTREAM_CONSUMER_RETRIES": "2"}
POISONED = "666"


def test_04_a_poison_record_in_mid_batch(platform: Platform) -> None:
    now = datetime.now(UTC)
    neighbours = [f"neighbour-{number}" for number in range(20)]
    records = [event_text(now, f"beside-{user}", user_id=user) for user in neighbours]
    records[10:10] = [b'{"click_id": "beside-poison', event_text(now, "beside-poisoned", user_id=POISONED)]
    with platform.cache_server() as cache:
        cache.set(f"user:{POISONED}", "no hash: last_access cannot write here")
        platform.put(records)
        platform.put([event_text(now, "beside-after", user_id="after")])
        platform.wait_delivered()
        seen = [cache.hget(f"user:{user}", "last_access") for user in [*neighbours, "after"]]
        cache.delete(f"user:{POISONED}")
    assert seen == [format_timestamp(now)] * 21
    platform.expect_invariant()
    assert _enriched(platform, "beside") == 22
    assert _failed(platform, "beside") == {
        ("malformed_json", "enrichment", "Lambda.ProcessingFailedStatus", 1): 1,
        ("processing_failed", "last_access", "RetryAttemptsExhausted", 3): 1,
    }


def test_05_every_record_of_a_batch_is_bad(platform: Platform) -> None:
    now = datetime.now(UTC)
    platform.put(event_text(now, f"all-bad-{number}", event_name="Nothing") for number in range(300))
    platform.expect_invariant()
    assert _enriched(platform, "all-bad") == 0
    assert _failed(platform, "all-bad") == {("schema_violation", "enrichment", "Lambda.ProcessingFailedStatus", 1): 300}


def test_07_timestamps_of_the_future_negative_and_nan(platform: Platform) -> None:
    now = datetime.now(UTC)
    good = now - timedelta(minutes=1)
    bad = {
        _timed(f"{now + timedelta(hours=2):%Y-%m-%d %H:%M:%S}"): "timestamp_out_of_range",
        _timed(f"{now.year + 1000}-01-01 00:00:00"): "timestamp_out_of_range",
        _timed("1969-12-31 23:59:59"): "timestamp_out_of_range",
        _timed("-0001-01-01 00:00:00"): "schema_violation",
        _timed(-1): "schema_violation",
        _timed(float("nan")): "malformed_json",
    }
    platform.put([event_text(good, "timed-good", user_id="timed"), *bad])
    platform.put([event_text(now + timedelta(minutes=4), "timed-ahead", user_id="clock-ahead")])
    platform.expect_invariant()
    with platform.cache_server() as cache:
        assert cache.hget("user:timed", "last_access") == format_timestamp(good)
        ahead = str(cache.hget("user:clock-ahead", "last_access"))
    assert format_timestamp(now) <= ahead <= format_timestamp(datetime.now(UTC))
    assert _enriched(platform, "timed") == 2
    assert _types(platform, list(bad)) == bad


def test_15_json_that_breaks_parsers_and_parquet(platform: Platform) -> None:
    now = datetime.now(UTC)
    event = event_text(now, "broken").decode()
    broken = {
        b"[" * 100_000: "size_violation",
        b"[" * 60_000: "size_violation",
        _noted(event, "[" * 20 + "]" * 20): "size_violation",
        event.replace("694.83", "NaN").encode(): "malformed_json",
        event.replace("694.83", "-Infinity").encode(): "malformed_json",
        event.replace("694.83", "1e400").encode(): "malformed_json",
        event.replace("361482", str(2**70)).encode(): "schema_violation",
        event.replace('"20"', r'"\ud800"').encode(): "malformed_json",
        _noted(event, r'"\udfff\ud800"'): "malformed_json",
        event.replace('"user_id"', '"user_id": "19", "user_id"').encode(): "malformed_json",
        _noted(event, '{"twice": 1, "twice": 2}'): "malformed_json",
        event.replace("fytil06mrm", "\udcff").encode(errors="surrogateescape"): "malformed_json",
        _noted(event, '"\udc80"'): "malformed_json",
        b"\x00\xff\xfe": "malformed_json",
        b"": "malformed_json",
    }
    good = [event_text(now, f"unbroken-{number}") for number in range(len(broken))]
    platform.put(record for pair in zip(broken, good, strict=True) for record in pair)
    platform.expect_invariant()
    assert _types(platform, list(broken)) == broken
    assert _enriched(platform, "unbroken") == len(good)
    [priced] = platform.query("SELECT SUM(price) AS total FROM flattened_events WHERE click_id LIKE 'unbroken-%'")
    assert float(priced["total"]) == pytest.approx(694.83 * len(good))


def _timed(timestamp: Any) -> bytes:
    event = json.loads(event_text(datetime.now(UTC), f"timed-{timestamp}", user_id="timed"))
    return json.dumps(event | {"timestamp": timestamp}).encode()


def _noted(event: str, note: str) -> bytes:
    return f'{event[:-1]}, "note": {note}}}'.encode(errors="surrogateescape")


def _enriched(platform: Platform, name: str) -> int:
    [row] = platform.query(f"SELECT COUNT(*) AS n FROM enriched_events WHERE click_id LIKE '{name}-%'")
    return int(row["n"])


def _failed(platform: Platform, name: str) -> dict[tuple[str, str, str, int], int]:
    """How the records whose bytes hold a name failed: type, stage, error code and attempts."""
    rows = platform.query(
        "SELECT type, stage, error_code, attempts, COUNT(*) AS n FROM failed_events "
        f"WHERE CAST(raw_data AS VARCHAR) LIKE '%{name}-%' GROUP BY ALL"
    )
    return {(row["type"], row["stage"], row["error_code"], row["attempts"]): row["n"] for row in rows}


def _types(platform: Platform, records: list[bytes]) -> dict[bytes, str]:
    """The types that these records failed with."""
    failed = platform.query("SELECT type, hex(raw_data) AS bytes FROM failed_events")
    types = {bytes.fromhex(row["bytes"]): row["type"] for row in failed}
    return {record: types[record] for record in records if record in types}
