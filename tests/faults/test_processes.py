"""Faults of the processes that carry events: killed, stopped, out of disk, two where there should be one."""

import json
import resource
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from streaming.domain.layout import hour_of, hour_prefix
from streaming.edges.event_stream import DELIVERY
from streaming.settings import ROOT
from tests.faults.platform import STREAM, Platform
from tests.landing import event_text

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

USERS = [str(user) for user in range(20, 40)]
MATERIALIZE = (sys.executable, "-m", "commands", "materialize")
DELIVERY_WORKER = (sys.executable, "-m", "streaming.runtime.worker", "delivery")


def test_20_servers_killed(platform: Platform) -> None:
    assert platform.post(_events("acknowledged")).status_code == 200
    platform.restart("stream-redis")
    platform.expect_invariant()
    known = _users(platform)
    assert known["user:20"]["name"] == "Semyon Ryan"
    assert all(known[f"user:{user}"]["location"] == "Riverside, California, US" for user in USERS)

    platform.restart("cache-redis")
    assert _users(platform) == known
    with platform.cache_server() as cache:
        cache.flushall()
    _run_job(platform, "rebuild_cache")
    assert _users(platform) == known
    assert platform.post(_events("after")).status_code == 200
    platform.expect_invariant()
    rows = platform.query("SELECT DISTINCT name FROM enriched_events WHERE user_id = '20'")
    assert rows == [{"name": "Semyon Ryan"}]


def test_22_the_disk_refuses_at_create_part_and_complete(start_platform: Callable[..., Platform]) -> None:
    platform = start_platform()
    hour = hour_of(datetime.now(UTC)) - timedelta(hours=4)
    for fault, reason in ((_no_folder, "File exists"), (_no_space, "File too large"), (_no_name, "Is a directory")):
        hour += timedelta(hours=1)
        before = platform.query("SELECT count(*) AS n FROM raw_events")
        seen = len(_log(platform))
        platform.stop(DELIVERY)
        platform.put_at(hour, [event_text(hour, f"{reason}-{n}", note=secrets.token_hex(500)) for n in range(200)])
        with fault(platform, hour):
            platform.resume(DELIVERY)
            platform.wait(lambda reason=reason, seen=seen: reason in _log(platform)[seen:], 30)
            assert platform.query("SELECT count(*) AS n FROM raw_events") == before
            assert platform.behind(DELIVERY) == 200
        platform.wait_delivered()
    summary = platform.expect_invariant()
    assert summary["enriched"] == 600
    assert not [path for path in platform.lake.rglob(".*") if path.is_file()]


def test_23_any_process_killed_under_load(platform: Platform) -> None:
    acknowledged = len(platform.accepted)
    with platform.under_load(_events, 0.02):
        for name in STREAM:
            platform.restart(name)
        platform.restart(*STREAM)
        platform.kill_supervisor()
        platform.up()
    assert len(platform.accepted) - acknowledged > 100
    platform.expect_invariant()


def test_25_two_runs_at_once_and_a_worker_that_was_thought_dead(start_platform: Callable[..., Platform]) -> None:
    platform = start_platform(CLICKSTREAM_LEASE_SECONDS="1")
    hour = hour_of(datetime.now(UTC)) - timedelta(hours=3)
    for moment in (hour, hour + timedelta(hours=1), datetime.now(UTC)):
        platform.put_at(moment, [event_text(moment, f"{moment}-{number}") for number in range(200)])
    platform.wait_delivered()
    with platform.process(*MATERIALIZE) as one, platform.process(*MATERIALIZE) as other:
        assert [run.wait(180) for run in (one, other)] == [0, 0]
    assert platform.expect_invariant()["flattened"] == 600

    _put(platform, "buffered")
    platform.stop(DELIVERY)
    with platform.process(*DELIVERY_WORKER):
        _put(platform, "taken-over")
        platform.wait_delivered()
        platform.resume(DELIVERY)
        refused = f"events {platform.shard_of('20')}: delivery has another owner"
        platform.wait(lambda: refused in _log(platform), 30)
        _put(platform, "fenced")
        platform.wait_delivered()
    _put(platform, "handed-back")
    assert platform.expect_invariant()["flattened"] == 1_000
    deliveries = platform.query(
        "SELECT count(*) AS n FROM raw_events WHERE starts_with(event->>'click_id', 'fenced') GROUP BY record_id"
    )
    assert deliveries == [{"n": 1}] * 100


def _events(name: str) -> list[dict[str, Any]]:
    """An event of each user, now."""
    now = datetime.now(UTC)
    return [json.loads(event_text(now, f"{name}-{user}", user_id=user)) for user in USERS]


def _put(platform: Platform, name: str) -> None:
    now = datetime.now(UTC)
    platform.put(event_text(now, f"{name}-{number}") for number in range(100))


def _users(platform: Platform) -> dict[str, dict[str, str]]:
    """What the cache knows of every user."""
    with platform.cache_server() as cache:
        return {key: cache.hgetall(key) for key in cache.scan_iter("user:*")}


def _run_job(platform: Platform, job: str) -> None:
    """Run a job of Dagster, as its UI would."""
    environment = {**platform.environment, "DAGSTER_HOME": str(platform.home / "dagster")}
    execute = (sys.executable, "-m", "dagster", "job", "execute", "-m", "clickstream_assets.definitions", "-j", job)
    subprocess.run(execute, env=environment, cwd=ROOT, capture_output=True, check=True)


def _log(platform: Platform) -> str:
    return (platform.home / "logs" / "delivery.log").read_text()


@contextmanager
def _no_folder(platform: Platform, hour: datetime) -> Iterator[None]:
    """Where the folder of an hour would go is a file."""
    path = platform.lake / hour_prefix("raw", hour)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    yield
    path.unlink()


@contextmanager
def _no_space(platform: Platform, _hour: datetime) -> Iterator[None]:
    """Delivery may write its log, and a few kilobytes of any file."""
    limit = len(_log(platform)) + 20_000
    resource.prlimit(platform.pid(DELIVERY), resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    yield
    resource.prlimit(platform.pid(DELIVERY), resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


@contextmanager
def _no_name(platform: Platform, hour: datetime) -> Iterator[None]:
    """A folder has the name that the file is to get when it is whole."""
    shard = platform.shard_of("20")
    with closing(platform.stream()) as stream:
        records = []
        last = stream.checkpoints()[shard].sequence_number
        while page := stream.get_records(shard, last, 500).records:
            records += page
            last = page[-1].sequence_number
    name = f"{shard}-{records[0].sequence_number}-{last}.json.gz"
    path = platform.lake / hour_prefix("raw", hour) / name
    path.mkdir(parents=True)
    yield
    path.rmdir()
