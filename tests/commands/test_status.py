"""`./run status` beside a platform that runs: what it shows, and the exit status scripts go by."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from commands.status import without_password
from streaming.edges.lake import LocalLake
from streaming.runtime.supervisor import running_system
from streaming.settings import ROOT
from tests.commands.conftest import system_with
from tests.streaming.runtime.health.conftest import WriteLedger, write_ledger

__all__ = ["write_ledger"]

Start = Callable[..., subprocess.Popen[str]]
THIS_HOUR = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
CONSUMERS = [("events", "delivery"), ("events", "last_access"), ("events", "high_intent"), ("high_intent", "delivery")]


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("mysql://shop:s3cret@db.example:3306/clickstream", "mysql://shop:***@db.example:3306/clickstream"),
        ("redis://:s3cret@127.0.0.1:6379/0", "redis://:***@127.0.0.1:6379/0"),
        ("redis://127.0.0.1:6379/0", "redis://127.0.0.1:6379/0"),
        ("mysql://root@127.0.0.1:3306/clickstream", "mysql://root@127.0.0.1:3306/clickstream"),
    ],
)
def test_addresses_are_shown_without_their_passwords(url: str, shown: str) -> None:
    assert without_password(url) == shown


def test_it_is_quick_because_it_needs_no_engine() -> None:
    script = "import sys, commands.status; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert set(loaded.split()) & {"dagster", "duckdb", "pandas", "pyarrow"} == set()


@pytest.fixture
def lake(home: Path) -> LocalLake:
    return LocalLake(home / "lake")


@pytest.fixture
def platform(start: Start, home: Path) -> Iterator[dict[str, Any]]:
    """A platform without Dagster."""
    output, _ = (up := start("up", "--detach", "--no-dagster")).communicate(timeout=100)
    assert up.returncode == 0, output
    yield running_system(home) or {}
    start("down").wait(60)


@pytest.mark.slow
def test_a_platform_that_is_well_and_then_is_not(
    platform: dict[str, Any], start: Start, lake: LocalLake, write_ledger: WriteLedger
) -> None:
    def status() -> tuple[int, dict[str, Any], list[str]]:
        output, _ = (process := start("status", "--json")).communicate(timeout=30)
        document = json.loads(output)
        return process.returncode, document, [alert["name"] for alert in document["alerts"]]

    assert start("send", "--events", "500").wait(60) == 0
    returned, document, alerts = status()
    assert (returned, document["state"], document["healthy"], alerts) == (0, "well", True, [])
    assert set(document["processes"]) == {
        "stream-redis", "cache-redis", "mariadb", "delivery", "consumers", "collector", "metrics", "dashboard",
    }  # fmt: skip
    assert document["stream"]["accepted_per_second"] > 0
    assert sum(document["stream"]["records"]["events"].values()) == 500
    rows = document["stream"]["backlog"]
    assert sorted({(row["stream"], row["consumer"]) for row in rows}) == sorted(CONSUMERS)
    assert len(rows) == 4 * len(document["stream"]["records"]["events"])
    assert 0 <= document["stream"]["delivery_age_seconds"] < 90
    assert document["addresses"]["METRICS_URL"] == platform["environment"]["METRICS_URL"]

    metrics = httpx.get(f"{platform['environment']['METRICS_URL']}/metrics", trust_env=False).text
    for component in document["processes"]:
        assert f'clickstream_up{{component="{component}"}} 1.0' in metrics
    assert 'process_cpu_seconds_total{process="delivery"}' in metrics
    assert 'collector_events_accepted_total{process="collector"} 500.0' in metrics

    write_ledger(THIS_HOUR, raw_records=10, failed_records=9, failures_by_type='{"malformed_json": 9}')
    assert (status()[0], status()[2]) == (1, ["failures_high"])

    write_ledger(THIS_HOUR, "red", missing_records=1)
    returned, document, alerts = status()
    assert (returned, alerts, document["ledger"]["red"]) == (2, ["ledger_red"], [f"{THIS_HOUR:%Y-%m-%dT%H:00:00}Z"])
    write_ledger(THIS_HOUR)

    collector = platform["processes"]["collector"]["pid"]
    os.kill(collector, signal.SIGSTOP)
    returned, document, alerts = status()
    os.kill(collector, signal.SIGCONT)
    assert (returned, document["state"], alerts) == (2, "critical", ["collector_down"])

    redis = platform["processes"]["stream-redis"]["pid"]
    os.kill(redis, signal.SIGSTOP)
    returned, document, alerts = status()
    os.kill(redis, signal.SIGCONT)
    assert (returned, document["stream"]) == (2, None)
    assert "stream_down" in alerts


@pytest.mark.slow
def test_watch_shows_one_look_after_the_other_until_ctrl_c(platform: dict[str, Any], start: Start) -> None:
    assert platform
    watching = start("status", "--watch", "--json")
    assert watching.stdout
    looks = [json.loads(watching.stdout.readline()) for _ in range(3)]
    os.killpg(watching.pid, signal.SIGINT)
    assert watching.wait(30) == 0
    assert looks[0]["at"] < looks[1]["at"] < looks[2]["at"]
    assert all(look["refused_per_second"] == {} for look in looks)


@pytest.mark.slow
def test_what_a_person_sees(platform: dict[str, Any], start: Start) -> None:
    refusing = httpx.Client(base_url=platform["environment"]["COLLECTOR_URL"], trust_env=False)
    watching = start("status", "--watch")
    deadline = time.monotonic() + 20
    shown = ""
    assert watching.stdout
    while "malformed_json" not in shown and time.monotonic() < deadline:
        assert refusing.post("/events", content="{").status_code == 400
        shown += watching.stdout.readline()
    os.killpg(watching.pid, signal.SIGINT)
    shown += watching.communicate(timeout=30)[0]
    for part in (
        "WELL",
        "refused/s: malformed_json",
        "behind now",
        "hours red",
        "last_access",
        "mariadb",
        "METRICS_URL",
    ):
        assert part in shown


@pytest.mark.slow
def test_two_platforms_that_start_at_once_choose_different_ports(
    start: Start, environment: dict[str, str], tmp_path: Path, free_port: int
) -> None:
    homes = [tmp_path / name for name in ("one", "two")]
    starting = []
    for home in homes:
        environment |= {"CLICKSTREAM_HOME": str(home), "COLLECTOR_PORT": str(free_port)}
        starting.append(start("up", "--no-dagster"))
    collectors = {
        system_with(process, home, "collector")["environment"]["COLLECTOR_URL"]
        for process, home in zip(starting, homes, strict=True)
    }
    assert len(collectors) == 2
    for url in collectors:
        assert eventually_answers(f"{url}/health")


def eventually_answers(url: str) -> bool:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            return httpx.get(url, trust_env=False).status_code == 200
        except httpx.TransportError:
            time.sleep(0.1)
    return False
