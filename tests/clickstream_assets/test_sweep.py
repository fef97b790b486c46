"""The job `sweep_leftovers` in a real run: what was killed left something in the lake and in the warehouse."""

import time
from datetime import timedelta
from pathlib import Path

import dagster as dg
import pytest

from clickstream_assets import sweep
from resources.lake import DirectoryLake
from resources.warehouse import DuckDBWarehouse


def test_what_lake_and_warehouse_were_left_with_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep, "ABANDONED_AFTER", timedelta(0))
    resources = {
        "lake": DirectoryLake(tmp_path / "lake"),
        "warehouse": DuckDBWarehouse(200_000_000, tmp_path / "duckdb"),
    }
    left = [tmp_path / "lake" / ".scratch-left" / "rows", tmp_path / "duckdb" / ".7-left" / "spilled"]
    for file in left:
        file.parent.mkdir(parents=True)
        file.write_bytes(b"left")
    time.sleep(0.05)  # the clock of files lags behind

    ran = sweep.sweep_leftovers.execute_in_process(instance=dg.DagsterInstance.ephemeral(), resources=resources)

    assert ran.success
    assert [file.parent for file in left if file.parent.exists()] == []
