"""The platform as a user runs it: commands in processes of their own, in a home of their own."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from streaming.runtime.supervisor import running_system
from streaming.settings import ROOT
from tests.streaming.conftest import geo_folder

__all__ = ["geo_folder"]


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


def system_with(process: subprocess.Popen[str], home: Path, *names: str) -> dict[str, Any]:
    """The running system once it has these processes."""
    found: dict[str, Any] = {}

    def complete() -> bool:
        found.update(running_system(home) or {})
        return set(names) <= set(found.get("processes", {}))

    wait_until(complete, process)
    return found


def wait_until(condition: Callable[[], bool], process: subprocess.Popen[str], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.05)
