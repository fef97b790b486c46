"""Workers as processes: readiness, an end on SIGTERM, and nothing lost when they are killed."""

import json
import os
import random
import signal
import subprocess
import sys
import time
import urllib.request
from datetime import UTC, datetime
from pathlib import Path
from threading import Event, Thread

import orjson
import pyarrow.parquet as pq
import pybase64
import pytest
import redis

from streaming.domain.envelope import new_record_ids, open_record, stamp
from streaming.domain.timestamps import format_timestamp
from streaming.edges.event_stream import EVENTS, HIGH_INTENT, LeaseLost
from streaming.edges.lake import LocalLake
from streaming.edges.redis_stream import RedisEventStream
from streaming.runtime.servers import LOOPBACK
from streaming.runtime.worker import Consumer, Worker
from streaming.settings import ROOT
from tests.streaming.redis_server import RedisServer
from tests.streaming.runtime.conftest import read_lines

SHARDS = 2


class Platform:
    """The streams, a lake, and worker processes between them."""

    def __init__(self, folder: Path, redis_url: str, cache_redis_url: str, geo: Path) -> None:
        self.lake = LocalLake(folder / "lake")
        self.events = RedisEventStream(redis_url, EVENTS, SHARDS, 100_000)
        self.views = RedisEventStream(redis_url, HIGH_INTENT, SHARDS, 100_000)
        self.ready = folder / "ready"
        self.environment = {
            **os.environ,
            "REDIS_URL": redis_url,
            "CACHE_REDIS_URL": cache_redis_url,
            "GEOIP_DATABASE": str(geo),
            "CLICKSTREAM_HOME": str(folder),
            "CLICKSTREAM_LAKE": str(self.lake.root),
            "CLICKSTREAM_SHARDS": str(SHARDS),
            "CLICKSTREAM_LEASE_SECONDS": "1",
            "CLICKSTREAM_DELIVERY_BUFFER_SECONDS": "1",
            "CLICKSTREAM_READY_FILE": str(self.ready),
        }
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self, role: str, *options: str, **environment: str) -> subprocess.Popen[bytes]:
        self.ready.unlink(missing_ok=True)
        command = [sys.executable, "-m", "streaming.runtime.worker", role, *options]
        process = subprocess.Popen(command, cwd=ROOT, env={**self.environment, **environment}, stderr=subprocess.PIPE)
        self.processes.append(process)
        return process

    def started(self, role: str, *options: str, **environment: str) -> subprocess.Popen[bytes]:
        process = self.start(role, *options, **environment)
        eventually(self.ready.exists)
        return process

    def delivered(self, stream: RedisEventStream) -> bool:
        return all(before.records == 0 for before in stream.backlog().values())

    def landed(self, prefix: str = "enriched_landing") -> list[dict]:
        return [
            row
            for path in sorted(self.lake.path(prefix).rglob("*.parquet"))
            for row in pq.read_table(path, partitioning=None).to_pylist()
        ]


@pytest.fixture
def platform(tmp_path, stream_redis_url, cache_redis_url, geo_folder):
    platform = Platform(tmp_path, stream_redis_url, cache_redis_url, geo_folder / "ipv4.mmdb")
    yield platform
    for process in platform.processes:
        process.kill()
        process.wait()
        process.stderr.close()


def eventually(condition, seconds=30.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)


def end(process: subprocess.Popen[bytes]) -> int:
    process.send_signal(signal.SIGTERM)
    return process.wait(30)


def events(count: int, seed: int = 1, percent_viewed: float = 39.7) -> list[tuple[str, bytes]]:
    """Enveloped events of twenty users, one in ten of them bad."""
    rng = random.Random(seed)
    now = datetime.now(UTC)
    found = []
    for record_id in new_record_ids(count):
        user = str(rng.randrange(20))
        event = {
            "timestamp": f"{now:%Y-%m-%d %H:%M:%S.%f}",
            "user_id": user,
            "pixel_id": "wjgao4w1oi",
            "click_id": f"{rng.getrandbits(128):032x}",
            "insertion_timestamp": f"{now:%Y-%m-%d %H:%M:%S.%f}",
            "event_name": "ViewContent" if rng.random() > 0.1 else "Juggle",
            "user_ip": "169.235.214.44",
            "additional_data": {
                "time_on_data": 79,
                "percent_viewed": percent_viewed,
                "product_id": 557246,
                "price": 417.97,
            },
        }
        found.append((user, stamp(json.dumps(event).encode(), record_id, format_timestamp(now), None)))
    return found


def put(stream: RedisEventStream, records: list[tuple[str, bytes]]) -> None:
    for start in range(0, len(records), 500):
        assert all(result.sequence_number for result in stream.put_records(records[start : start + 500]))


class TestServing:
    """The worker's own part, with consumers of the test."""

    @pytest.fixture
    def stream(self, stream_redis_url):
        return RedisEventStream(stream_redis_url, EVENTS, 1, 100)

    def work(self, stream, run, stop):
        worker = Worker([Consumer("probe", stream, run)], 1.0, stop)
        thread = Thread(target=worker.run, args=[lambda: None])
        thread.start()
        return worker, thread

    def test_what_nobody_expected_ends_the_process(self, stream):
        def run(stream, lease, stop):
            raise ZeroDivisionError

        stop = Event()
        worker, thread = self.work(stream, run, stop)
        thread.join(30)

        assert stop.is_set()
        assert worker.failed

    def test_a_lease_is_renewed_while_the_work_takes_long(self, stream):
        def run(stream, lease, stop):
            stop.wait(10)

        stop = Event()
        worker, thread = self.work(stream, run, stop)
        time.sleep(2)
        assert stream.acquire("shardId-000000000000", "probe", "other", 5) is None
        stop.set()
        thread.join(30)

        assert not worker.failed
        assert stream.acquire("shardId-000000000000", "probe", "other", 5)

    def test_a_lost_lease_is_asked_for_again(self, stream):
        epochs, stop = [], Event()

        def run(stream, lease, stop):
            epochs.append(lease.epoch)
            if len(epochs) == 1:
                raise LeaseLost
            stop.wait(10)

        _, thread = self.work(stream, run, stop)
        eventually(lambda: len(epochs) == 2)
        stop.set()
        thread.join(30)

        assert epochs == [1, 2]


def test_delivery_becomes_ready_lands_what_comes_and_flushes_at_its_end(platform):
    worker = platform.started("delivery", CLICKSTREAM_DELIVERY_BUFFER_SECONDS="60")
    put(platform.events, events(300))
    time.sleep(3)
    assert not platform.lake.root.exists()

    assert end(worker) == 0
    assert platform.delivered(platform.events)
    failed = read_lines(platform.lake, "failed/enrichment")
    assert len(platform.landed()) + len(failed) == len(read_lines(platform.lake, "raw")) == 300
    assert platform.landed()[0]["city"] == "Riverside"


def test_consumers_keep_last_access_and_send_high_intent_views_that_land(platform, cache_redis_url):
    platform.started("consumers")
    platform.started("delivery")
    records = events(300, percent_viewed=61.5)
    put(platform.events, records)

    good = {open_record(data, datetime.now(UTC)).record_id for _, data in records if b"ViewContent" in data}
    eventually(lambda: {row["record_id"] for row in platform.landed("high_intent_views")} == good)
    eventually(lambda: all(b.records == 0 for b in platform.events.backlog("last_access").values()))
    with redis.Redis.from_url(cache_redis_url) as cache:
        assert b"Riverside" in cache.hget(f"user:{records[0][0]}", "location")


@pytest.mark.slow
def test_killing_a_worker_at_any_moment_loses_nothing(platform):
    records = events(6000)
    rng = random.Random(7)
    for start in range(0, len(records), 1000):
        worker = platform.start("delivery", CLICKSTREAM_DELIVERY_BUFFER_BYTES="100000")
        put(platform.events, records[start : start + 1000])
        time.sleep(rng.uniform(0.8, 2.0))
        worker.kill()
        worker.wait()
    platform.start("delivery")
    eventually(lambda: platform.delivered(platform.events))

    accepted = {open_record(data, datetime.now(UTC)).record_id for _, data in records}
    raw = {line["record_id"] for line in read_lines(platform.lake, "raw")}
    enriched = {row["record_id"] for row in platform.landed()}
    failed = {
        open_record(pybase64.b64decode(line["rawData"]), datetime.now(UTC)).record_id
        for line in read_lines(platform.lake, "failed/enrichment")
    }
    assert raw == accepted
    assert enriched | failed == accepted
    assert not enriched & failed


def test_a_second_worker_takes_over_from_one_that_died(platform):
    first = platform.started("delivery")
    second = platform.started("delivery")
    first.kill()
    put(platform.events, events(100))

    eventually(lambda: platform.delivered(platform.events))
    assert end(second) == 0


@pytest.mark.slow
def test_a_worker_waits_for_a_redis_that_is_away(platform, tmp_path):
    with RedisServer(tmp_path / "redis") as server:
        stream = RedisEventStream(server.url, EVENTS, SHARDS, 100_000)
        put(stream, events(50))
        server.kill()
        worker = platform.start("delivery", REDIS_URL=server.url)
        time.sleep(2)
        assert not platform.ready.exists()
        server.start()
        eventually(lambda: platform.delivered(stream))
        server.kill()
        time.sleep(1)
        server.start()
        put(stream, events(50, seed=2))
        eventually(lambda: platform.delivered(stream))
        assert end(worker) == 0
        assert len(read_lines(platform.lake, "raw")) == 100


def test_a_redis_that_may_lose_records_is_refused(platform, tmp_path):
    with RedisServer(tmp_path / "redis", "--appendonly", "no") as server:
        worker = platform.start("delivery", REDIS_URL=server.url)
        assert worker.wait(30) == 2
        assert "append-only" in orjson.loads(worker.stderr.read().splitlines()[-1])["message"]


def test_metrics_are_served_and_logs_carry_no_payload(platform, free_port):
    worker = platform.started("delivery", "--metrics-port", str(free_port))
    put(platform.events, events(200))
    eventually(lambda: platform.delivered(platform.events))
    with urllib.request.urlopen(f"http://{LOOPBACK}:{free_port}/metrics") as answer:
        text = answer.read().decode()
    end(worker)

    assert 'clickstream_delivery_records_total{delivery="events",result="delivered"}' in text
    log = worker.stderr.read()
    assert all(orjson.loads(line)["process"] == "worker-delivery" for line in log.splitlines())
    assert b"Juggle" not in log
    assert b"wjgao4w1oi" not in log
