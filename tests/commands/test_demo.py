"""The demo from end to end, through real processes: what it counts, and what it leaves behind."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from streaming.runtime.processes import ProcessIdentity
from streaming.runtime.supervisor import running_processes, running_system
from streaming.settings import ROOT
from tests.streaming.conftest import geo_folder

__all__ = ["geo_folder"]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

SUMMARY = {"accepted", "raw", "enriched", "failed", "flattened", "aggregates", "seconds", "lake"}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def environment(home: Path, geo_folder: Path) -> Mapping[str, str]:
    named = {"REDIS_URL", "CACHE_REDIS_URL", "MYSQL_URL", "COLLECTOR_PORT", "DAGSTER_URL"}
    inherited = {name: value for name, value in os.environ.items() if name not in named}
    return inherited | {"CLICKSTREAM_HOME": str(home), "GEOIP_DATABASE": str(geo_folder), "PYTHONPATH": str(ROOT)}


@pytest.fixture
def start(environment: Mapping[str, str], tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start a command; what still runs when the test ends is stopped."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "commands", *arguments],
            env=environment, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            start_new_session=True,
        )  # fmt: skip
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.terminate()
            process.wait(90)


def test_each_run_adds_to_a_balanced_ledger(start: Callable[..., subprocess.Popen[str]], home: Path) -> None:
    for burst, total in ((2_000, 2_000), (500, 2_500)):
        process = start("demo", "--exit", "--events", str(burst), "--json")
        output, _ = process.communicate(timeout=200)
        assert process.returncode == 0, output
        summary = json.loads(output.splitlines()[-1])
        assert set(summary) == SUMMARY
        assert summary["accepted"] == summary["raw"] == summary["enriched"] == summary["flattened"] == total
        assert summary["failed"] == 0
        assert summary["aggregates"]["events_by_type"] > 0
        assert Path(summary["lake"]) == home / "lake"
        assert running_system(home) is None


def test_killing_delivery_in_the_middle_loses_nothing(start: Callable[..., subprocess.Popen[str]], home: Path) -> None:
    process = start("demo", "--exit", "--events", "20000", "--json")
    system = _system_with(process, home, "traffic")
    killed = system["processes"]["delivery"]["pid"]
    os.kill(killed, signal.SIGKILL)
    output, _ = process.communicate(timeout=200)
    assert process.returncode == 0, output
    assert "delivery was killed by SIGKILL; restarting it" in output
    summary = json.loads(output.splitlines()[-1])
    assert summary["accepted"] == summary["raw"] == summary["enriched"] == summary["flattened"] == 20_000


def test_ctrl_c_leaves_no_process_and_no_port(start: Callable[..., subprocess.Popen[str]], home: Path) -> None:
    process = start("demo", "--events", "500")
    system = _system_with(process, home, "live-traffic", "dagster-daemon")
    identities = running_processes(home)
    assert {"stream-redis", "cache-redis", "mariadb", "delivery", "consumers", "collector"} < set(system["processes"])
    os.kill(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=90)
    assert process.returncode == 0, output
    assert _alive(identities) == []
    # Workers flush to servers that are still there, and so never have to begin again.
    assert "begins again" not in (home / "logs" / "delivery.log").read_text()
    addresses = [urlsplit(url) for name, url in system["environment"].items() if name.endswith("_URL")]
    assert len(addresses) == 5
    assert [url.netloc for url in addresses if _listens(url.port or 0)] == []


def test_up_status_down(start: Callable[..., subprocess.Popen[str]], home: Path) -> None:
    output, _ = (up := start("up", "--detach")).communicate(timeout=100)
    assert up.returncode == 0, output
    identities = running_processes(home)
    assert {"delivery", "collector", "dagster-webserver", "dagster-daemon"} < {identity.name for identity in identities}
    status = start("status", "--json")
    report = json.loads(status.communicate(timeout=30)[0])
    assert (status.returncode, report["healthy"]) == (0, True)
    again, _ = (second := start("up")).communicate(timeout=60)
    assert second.returncode == 1
    assert "already runs" in again
    answer, _ = (down := start("down")).communicate(timeout=100)
    assert (down.returncode, answer) == (0, f"stopped what ran in {home}\n")
    assert _alive(identities) == []


def _system_with(process: subprocess.Popen[str], home: Path, *names: str) -> dict[str, Any]:
    """The running system once it has these processes."""
    found: dict[str, Any] = {}

    def complete() -> bool:
        found.update(running_system(home) or {})
        return set(names) <= set(found.get("processes", {}))

    _wait_until(complete, process)
    return found


def _wait_until(condition: Callable[[], bool], process: subprocess.Popen[str], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _alive(identities: list[ProcessIdentity]) -> list[str]:
    return [identity.name for identity in identities if identity.process()]


def _listens(port: int) -> bool:
    with socket.socket() as connection:
        return connection.connect_ex(("127.0.0.1", port)) == 0
