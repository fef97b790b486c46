"""Random faults under traffic, as `./run soak` does it, kept short."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from commands.soak.strikes import STRIKES
from streaming.settings import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


def soak(tmp_path: Path, geo_folder: Path, *options: str) -> dict[str, Any]:
    """The report of a soak whose promises hold."""
    home = {"CLICKSTREAM_HOME": str(tmp_path / "home"), "GEOIP_DATABASE": str(geo_folder)}
    finished = subprocess.run(
        [sys.executable, "-m", "commands", "soak", "--json", *options], env=os.environ | home, cwd=ROOT,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert finished.returncode == 0, f"{finished.stdout}\n{finished.stderr}"
    report: dict[str, Any] = json.loads(finished.stdout)
    assert report["holds"]
    assert [finding for finding in report["verdict"] if finding["broken"]] == []
    assert [struck for struck in report["strikes"] if struck["error"]] == []
    return report


def test_23_all_processes_are_killed_one_by_one_and_together_under_2000_events_a_second(
    tmp_path: Path, geo_folder: Path
) -> None:
    report = soak(tmp_path, geo_folder, "--minutes", "2", "--rate", "2000", "--seed", "23", "--strikes", "kill")
    assert {struck["name"] for struck in report["strikes"]} == {s.name for s in STRIKES if s.kind == "kill"}
    assert report["sent"]["unacknowledged"] == 0
    assert report["tables"]["raw"] >= report["sent"]["accepted"] > 20_000


def test_30_soak_with_random_faults(tmp_path: Path, geo_folder: Path) -> None:
    report = soak(tmp_path, geo_folder, "--minutes", "3", "--rate", "200", "--seed", "30")
    assert len(report["strikes"]) >= 5
    assert report["sent"]["unacknowledged"] == 0
    assert report["tables"]["failed"] > 0
