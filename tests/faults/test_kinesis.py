"""Faults on the edge of Kinesis: the platform's own collector and workers, on a stream that fails as the service does.

A proxy before the emulator refuses records, loses answers and throttles; processes are killed while it is under load
and while its shards are split and merged. What is expected of Redis is expected here: invariant I.
"""

import json
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import boto3
import httpx
import pytest

from streaming.domain.envelope import MAX_STAMP_DRIFT, new_record_ids, stamp
from streaming.domain.layout import hour_of
from streaming.domain.tables import RAW_EVENTS
from streaming.domain.timestamps import format_timestamp
from streaming.edges.event_stream import DELIVERY, EVENTS
from tests.aggregates_of_records import aggregate
from tests.aws_account import account, create_streams, environment
from tests.aws_proxy import Answer, AwsProxy, Fault, Faults, Forward, Request, cut, lose_answer, refuse, refuse_records
from tests.faults.platform import STREAM, Platform
from tests.landing import event_text

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

KINESIS = "clickstream-events"
THROTTLED = "ProvisionedThroughputExceededException"
USERS = [str(user) for user in range(20, 40)]


class OnKinesis(Platform):
    """A platform whose streams are on Kinesis, behind a proxy."""

    proxy: AwsProxy


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory, geo_folder: Any) -> Iterator[OnKinesis]:
    home = tmp_path_factory.mktemp("kinesis") / "home"
    with pytest.MonkeyPatch.context() as patch, account(patch) as address, AwsProxy(address) as proxy:
        create_streams(patch)
        settings = {
            "GEOIP_DATABASE": str(geo_folder),
            "CLICKSTREAM_STREAM": "kinesis",
            "CLICKSTREAM_CONSUMER_RETRIES": "2",
            **environment(proxy.address),
        }
        with OnKinesis(home, **settings) as running:
            running.proxy = proxy
            yield running


def test_collector_and_status_say_when_kinesis_is_away_and_back(platform: OnKinesis) -> None:
    def health() -> tuple[int, dict[str, Any]]:
        answer = httpx.get(f"{platform.settings.collector_url}/health", trust_env=False, timeout=10)
        return answer.status_code, answer.json()

    assert health() == (200, {"status": "ok", "stream_backlog": None})
    platform.wait_ready(*platform.system["processes"])
    document = json.loads(platform.run("status", "--json"))
    assert {row["records"] for row in document["stream"]["backlog"]} == {None}
    assert all(row["oldest_age_seconds"] < 60 for row in document["stream"]["backlog"])
    assert "the stream does not count" in platform.run("status")
    with _fault(platform, cut):
        assert health() == (503, {"status": "stream unavailable", "stream_backlog": None})
    assert health()[0] == 200
    platform.wait_delivered()


def test_01_put_records_fails_3_of_500(platform: OnKinesis) -> None:
    with _fault(platform, Faults(refuse_records([3, 250, 499]), 1, _puts_events)):
        answer = platform.post(_events("partial", 500))
    assert answer.status_code == 200
    assert _put_sizes(platform)[-2:] == [500, 3]
    platform.expect_invariant()
    assert _rows(platform, "partial") == {"sent": 500, "records": 500, "clicks": 500}


def test_02_an_acknowledgement_is_lost_and_the_records_are_sent_again(platform: OnKinesis) -> None:
    with _fault(platform, Faults(lose_answer, 1, _puts_events)):
        answer = platform.post(_events("unacknowledged", 50))
    assert answer.status_code == 200
    platform.expect_invariant()
    assert _rows(platform, "unacknowledged") == {"sent": 100, "records": 50, "clicks": 50}


def test_03_throttled_until_the_retries_end(platform: OnKinesis) -> None:
    events = _events("throttled", 5)
    for fault in (refuse(400, THROTTLED), refuse(500, "InternalFailure"), _refuse_user("24")):
        with _fault(platform, _on_puts(fault)):
            refused = platform.post(events)
        assert refused.status_code == 503
        assert "record_ids" not in refused.json()
        assert refused.headers["retry-after"]
    assert platform.post(events).status_code == 200
    platform.expect_invariant()
    # A put that took four of five was refused as a whole, and those four came again.
    assert _rows(platform, "throttled") == {"sent": 9, "records": 9, "clicks": 5}


def test_09_the_store_of_failed_events_is_down(platform: OnKinesis) -> None:
    now = datetime.now(UTC)
    with platform.failed_store_down(), platform.unwritable("unkept"):
        platform.put([b'{"click_id": "unkept-1"', event_text(now, "unkept-2", user_id="unkept")], key="unkept")
        platform.put([event_text(now, "unkept-beside", user_id="20")], key="20")
        put = datetime.now(UTC)
        for consumer in (DELIVERY, "last_access"):
            platform.wait(lambda consumer=consumer: _shards_past(platform, consumer, put) == 3, 60)
        platform.kill("delivery", "consumers")
    platform.expect_invariant()
    assert _rows(platform, "unkept")["clicks"] == 2
    assert _failures(platform, "unkept-1") == 1


def test_10_retries_exhausted(platform: OnKinesis) -> None:
    record = event_text(datetime.now(UTC), "exhausted-1", user_id="exhausted")
    with platform.unwritable("exhausted"):
        platform.put([record])
        platform.wait_delivered()
    platform.expect_invariant()
    kept = f"FROM failed_events WHERE record_id = '{platform.accepted[-1]}'"
    assert platform.query(f"SELECT error_code, hex(raw_data) AS bytes {kept}") == [
        {"error_code": "RetryAttemptsExhausted", "bytes": record.hex().upper()}
    ]
    platform.run("replay", "--record-id", platform.accepted[-1])
    with platform.cache_server() as cache:
        assert cache.hget("user:exhausted", "location") == "Riverside, California, US"
    platform.expect_invariant()


def test_14_batches_delivered_twice_also_across_an_hours_boundary(platform: OnKinesis) -> None:
    now = datetime.now(UTC)
    earliest = now - MAX_STAMP_DRIFT + timedelta(minutes=2)
    moments = {now, max(earliest, hour_of(now) - timedelta(milliseconds=1))}
    for moment in moments:  # the last moment of the hour before, where Kinesis still takes it for one of an edge
        texts = [event_text(min(moments), f"twice-{number}") for number in range(40)]
        platform.put(
            stamp(text, record_id, format_timestamp(moment), None)
            for text, record_id in zip(texts, new_record_ids(len(texts)), strict=True)
        )
        platform.wait_delivered()
    files = _landed(platform)
    with platform.unattended(), platform.stream_server() as server:
        platform.kill("delivery")
        for key in server.scan_iter(f"{KINESIS}:*:{DELIVERY}"):
            server.delete(key)
    platform.expect_invariant()
    assert _landed(platform) > files, "all of the stream came again, in files of other cuts"
    rows = _rows(platform, "twice")
    assert (rows["records"], rows["clicks"]) == (80, 40)
    assert rows["sent"] >= 160


def test_aggregated_records_are_unpacked_for_every_reader(platform: OnKinesis) -> None:
    now = datetime.now(UTC)
    texts = [
        event_text(now, f"packed-{user}", user_id=user, event_name="ViewContent") for user in ("21", "22", "packed")
    ]
    identities = new_record_ids(len(texts))
    records = [stamp(*each, format_timestamp(now), None) for each in zip(texts, identities, strict=True)]
    with closing(platform.stream()) as stream:
        [result] = stream.put_records([("any", aggregate([("key", record) for record in records]))])
    assert result.error_code is None
    platform.accepted += identities
    platform.wait_delivered()
    platform.expect_invariant()
    assert _rows(platform, "packed") == {"sent": 3, "records": 3, "clicks": 3}
    with platform.cache_server() as cache:
        assert cache.hget("user:packed", "last_access") == format_timestamp(now)
    [views] = platform.query("SELECT COUNT(*) AS n FROM high_intent_views WHERE click_id LIKE 'packed-%'")
    assert views["n"] == 3


def test_23_any_process_killed_under_load_while_shards_split_and_merge(platform: OnKinesis) -> None:
    acknowledged = len(platform.accepted)
    with platform.under_load(partial(_events, count=20), 0.05):
        _reshard(6)
        for name in STREAM:
            platform.restart(name)
        with _fault(platform, cut):
            time.sleep(3)
        _reshard(3)
        platform.restart(*STREAM)
        platform.kill_supervisor()
        platform.up()
    assert len(platform.accepted) - acknowledged > 100
    platform.expect_invariant()
    with closing(platform.stream()) as stream:
        assert len(stream.list_shards()) > 4 + 6


def test_23_an_order_of_a_user_holds_while_shards_split(platform: OnKinesis) -> None:
    """Last access is of the newest event, and each consumer read a parent before its children."""
    now = datetime.now(UTC)
    for number in range(6):
        platform.put([event_text(now + timedelta(microseconds=number), f"ordered-{number}", user_id="ordered")])
        _reshard(4 if number % 2 else 5)
    platform.wait_delivered()
    with platform.cache_server() as cache:
        assert cache.hget("user:ordered", "last_access") == format_timestamp(now + timedelta(microseconds=5))
    platform.expect_invariant()


@contextmanager
def _fault(platform: OnKinesis, fault: Fault) -> Iterator[None]:
    platform.proxy.fault = fault
    try:
        yield
    finally:
        platform.proxy.fault = _pass


def _pass(request: Request, forward: Forward) -> Answer:
    return forward(request)


def _puts_events(request: Request) -> bool:
    return request.operation == "PutRecords" and json.loads(request.body)["StreamName"] == KINESIS


def _on_puts(fault: Fault) -> Fault:
    return lambda request, forward: fault(request, forward) if _puts_events(request) else forward(request)


def _refuse_user(user: str) -> Fault:
    """The shard of a user takes nothing."""

    def fault(request: Request, forward: Forward) -> Answer | None:
        keys = [record["PartitionKey"] for record in json.loads(request.body)["Records"]]
        return refuse_records([index for index, key in enumerate(keys) if key == user])(request, forward)

    return fault


def _put_sizes(platform: OnKinesis) -> list[int]:
    """How many records each put to the events' stream had."""
    puts = filter(_puts_events, list(platform.proxy.requests))
    return [len(json.loads(request.body)["Records"]) for request in puts]


def _reshard(shards: int) -> None:
    boto3.client("kinesis").update_shard_count(
        StreamName=KINESIS, TargetShardCount=shards, ScalingType="UNIFORM_SCALING"
    )


def _shards_past(platform: OnKinesis, consumer: str, moment: datetime) -> int:
    reached = [each.caught_up_to for each in platform.checkpoints(EVENTS, consumer)]
    return sum(each is not None and each > moment for each in reached)


def _landed(platform: OnKinesis) -> int:
    return sum(1 for _ in (platform.lake / RAW_EVENTS.prefix).rglob("*.json.gz"))


def _events(name: str, count: int) -> list[dict[str, Any]]:
    now = datetime.now(UTC)
    return [json.loads(event_text(now, f"{name}-{n}", user_id=USERS[n % len(USERS)])) for n in range(count)]


def _rows(platform: OnKinesis, name: str) -> dict[str, int]:
    """How often events of this name stand in raw, by how many identities, and how many flattened rows they have."""
    [row] = platform.query(
        "SELECT COUNT(*) AS sent, COUNT(DISTINCT record_id) AS records, "
        f"(SELECT COUNT(*) FROM flattened_events WHERE click_id LIKE '{name}-%') AS clicks "
        f"FROM raw_events WHERE event->>'click_id' LIKE '{name}-%'"
    )
    return row


def _failures(platform: OnKinesis, text: str) -> int:
    [row] = platform.query(
        f"SELECT COUNT(DISTINCT record_id) AS n FROM failed_events WHERE contains(raw_data::VARCHAR, '{text}')"
    )
    return int(row["n"])
