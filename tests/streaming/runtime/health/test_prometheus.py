"""The metrics endpoint as a process: what Prometheus reads, and that it answers whatever is down."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
import yaml
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from streaming.edges.event_stream import EVENTS
from streaming.edges.streams import open_event_stream
from streaming.runtime.servers import LOOPBACK, free_port
from streaming.settings import ROOT, load_settings
from tests.streaming.redis_server import RedisServer
from tests.streaming.runtime.collector.conftest import ONE, START
from tests.streaming.runtime.collector_process import CollectorProcess
from tests.streaming.runtime.health.conftest import WriteLedger

THIS_HOUR = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
SHARDS = 2


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    with RedisServer(tmp_path / "redis") as server:
        yield server


@pytest.fixture
def collector(redis: RedisServer, tmp_path: Path) -> Iterator[CollectorProcess]:
    with CollectorProcess(redis.url, tmp_path, **START) as process:
        yield process


class Endpoint:
    """The process that serves metrics."""

    def __init__(self, home: Path, redis_url: str, collector_url: str) -> None:
        self.port = free_port()
        variables = {"CLICKSTREAM_HOME": str(home), "REDIS_URL": redis_url, "CLICKSTREAM_SHARDS": str(SHARDS)}
        command = [sys.executable, "-m", "streaming.runtime.health", "--port", str(self.port)]
        self.process = subprocess.Popen(
            [*command, f"collector={collector_url}/metrics"], env=os.environ | variables, cwd=ROOT
        )

    def families(self) -> dict[str, Metric]:
        """What a scrape returns; waits for the first one while the process starts."""
        deadline = time.monotonic() + 30
        while True:
            try:
                text = httpx.get(f"http://{LOOPBACK}:{self.port}/metrics", timeout=8, trust_env=False).text
                return {family.name: family for family in text_string_to_metric_families(text)}
            except httpx.ConnectError:
                assert self.process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.05)

    def values(self, name: str, label: str) -> dict[str, float]:
        return {sample.labels[label]: sample.value for sample in self.families()[name].samples}


@pytest.fixture
def endpoint(redis: RedisServer, collector: CollectorProcess, tmp_path: Path) -> Iterator[Endpoint]:
    endpoint = Endpoint(tmp_path, redis.url, collector.url)
    yield endpoint
    endpoint.process.kill()
    endpoint.process.wait()


def test_everything_in_one_scrape(
    endpoint: Endpoint, collector: CollectorProcess, write_ledger: WriteLedger, redis: RedisServer
) -> None:
    for _ in range(3):
        assert collector.post(ONE).status_code == 200
    assert collector.post("{").status_code == 400
    write_ledger(THIS_HOUR, "red", missing_records=2, failed_records=1, failures_by_type='{"malformed_json": 1}')

    families = endpoint.families()

    def total(name: str, **labels: str) -> float:
        samples = [sample for sample in families[name].samples if not sample.name.endswith("_created")]
        return sum(sample.value for sample in samples if labels.items() <= sample.labels.items())

    assert {name: family.type for name, family in families.items() if family.type == "unknown"} == {}
    assert [name for name, family in families.items() if not family.documentation] == []
    assert total("clickstream_up", component="stream") == 1
    assert total("clickstream_up", component="collector") == 1
    assert (families["clickstream_stream_records"].type, total("clickstream_stream_records", stream="events")) == (
        "counter",
        3,
    )
    assert total("clickstream_backlog_records", consumer="delivery", stream="events") == 3
    assert total("clickstream_backlog_age_seconds", consumer="delivery") > 0
    assert total("clickstream_ledger_hours", state="red") == 1
    assert total("clickstream_ledger_unaccounted_records") == 2
    assert total("clickstream_recent_failed_records", type="malformed_json") == 1
    assert total("clickstream_alert_active", alert="ledger_red", severity="critical") == 1
    assert total("clickstream_alert_active", alert="stream_down") == 0
    assert total("clickstream_lake_disk_free_bytes") > 0
    assert total("collector_events_accepted", process="collector") == 3
    assert total("collector_events_refused", process="collector", type="malformed_json") == 1
    assert families["collector_stream_put_seconds"].type == "histogram"


def test_delivery_is_as_late_as_what_waits_for_it_until_it_has_read_every_shard(
    endpoint: Endpoint, redis: RedisServer, collector: CollectorProcess
) -> None:
    def age() -> float:
        [sample] = endpoint.families()["clickstream_delivery_age_seconds"].samples
        return sample.value

    assert age() == 0
    assert collector.post(ONE).status_code == 200
    assert 0 < age() < 10
    settings = load_settings({"REDIS_URL": redis.url, "CLICKSTREAM_SHARDS": str(SHARDS)})
    stream = open_event_stream(settings, EVENTS)
    for shard in stream.list_shards():
        lease = stream.acquire(shard, "delivery", "test", 5)
        assert lease
        lease.checkpoint(None, datetime.now(UTC) - timedelta(minutes=1))
    assert 60 <= age() < 70


def test_it_answers_while_the_stream_is_stopped_and_killed(endpoint: Endpoint, redis: RedisServer) -> None:
    endpoint.families()
    redis.stop()
    began = time.monotonic()
    assert endpoint.values("clickstream_up", "component")["stream"] == 0
    assert time.monotonic() - began < 6
    redis.resume()
    assert endpoint.values("clickstream_up", "component")["stream"] == 1
    redis.kill()
    families = endpoint.families()
    assert "clickstream_backlog_records" not in families
    active = {sample.labels["alert"] for sample in families["clickstream_alert_active"].samples if sample.value}
    assert active == {"stream_down"}


def test_it_answers_while_the_collector_is_stopped_and_gone(endpoint: Endpoint, collector: CollectorProcess) -> None:
    endpoint.families()
    collector.process.send_signal(signal.SIGSTOP)
    assert endpoint.values("clickstream_up", "component") == {"collector": 0, "stream": 1}
    collector.process.send_signal(signal.SIGCONT)
    assert endpoint.values("clickstream_up", "component") == {"collector": 1, "stream": 1}
    collector.process.kill()
    collector.process.wait()
    assert endpoint.values("clickstream_up", "component") == {"collector": 0, "stream": 1}


def test_the_documented_rules_are_about_metrics_that_are_served(endpoint: Endpoint) -> None:
    page = (ROOT / "docs" / "operations.md").read_text()
    scraping, rules = (yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL))
    served = {sample.name for family in endpoint.families().values() for sample in family.samples}

    [job] = scraping["scrape_configs"]
    assert job["static_configs"] == [{"targets": [urlsplit(load_settings({}).metrics_url).netloc]}]
    [group] = rules["groups"]
    for rule in group["rules"]:
        assert (
            {"alert", "expr", "for", "annotations"} <= rule.keys() <= {"alert", "expr", "for", "labels", "annotations"}
        )
        assert set(re.findall(r"clickstream_\w+", rule["expr"])) <= served


def test_sigterm_ends_it_well(endpoint: Endpoint) -> None:
    endpoint.families()
    endpoint.process.terminate()
    assert endpoint.process.wait(10) == 0
