"""The demo from end to end, through real processes: what it counts, and what it leaves behind."""

import json
import os
import signal
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from streaming.runtime.processes import ProcessIdentity
from streaming.runtime.supervisor import running_processes, running_system
from tests.commands.conftest import system_with

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

SUMMARY = {"accepted", "raw", "enriched", "failed", "flattened", "aggregates", "seconds", "lake"}


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
    system = system_with(process, home, "traffic")
    killed = system["processes"]["delivery"]["pid"]
    os.kill(killed, signal.SIGKILL)
    output, _ = process.communicate(timeout=200)
    assert process.returncode == 0, output
    assert "delivery was killed by SIGKILL; restarting it" in output
    summary = json.loads(output.splitlines()[-1])
    assert summary["accepted"] == summary["raw"] == summary["enriched"] == summary["flattened"] == 20_000


def test_ctrl_c_leaves_no_process_and_no_port(start: Callable[..., subprocess.Popen[str]], home: Path) -> None:
    process = start("demo", "--events", "500")
    system = system_with(process, home, "live-traffic", "dagster-daemon")
    identities = running_processes(home)
    assert {"stream-redis", "cache-redis", "mariadb", "delivery", "consumers", "collector"} < set(system["processes"])
    os.kill(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=90)
    assert process.returncode == 0, output
    assert _alive(identities) == []
    # Workers flush to servers that are still there, and so never have to begin again.
    assert "begins again" not in (home / "logs" / "delivery.log").read_text()
    addresses = [urlsplit(url) for name, url in system["environment"].items() if name.endswith("_URL")]
    assert len(addresses) == 7
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


def _alive(identities: list[ProcessIdentity]) -> list[str]:
    return [identity.name for identity in identities if identity.process()]


def _listens(port: int) -> bool:
    with socket.socket() as connection:
        return connection.connect_ex(("127.0.0.1", port)) == 0
