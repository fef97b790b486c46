"""`./run replay` on a platform that runs."""

import json
import sqlite3
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.commands.conftest import geo_folder
from tests.faults.platform import Platform
from tests.landing import event_text

__all__ = ["geo_folder"]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

NOW = datetime.now(UTC)
OLD = datetime(2021, 7, 5, 4, tzinfo=UTC)


def replayed(platform: Platform, *options: str) -> dict[str, Any]:
    outcome: dict[str, Any] = json.loads(platform.run("replay", "--json", *options).splitlines()[-1])
    return outcome


def test_what_failed_for_a_setting_passes_when_that_has_changed(tmp_path: Path, geo_folder: Path) -> None:
    with Platform(tmp_path / "home", GEOIP_DATABASE=str(geo_folder)) as platform:
        platform.put([event_text(NOW, "good"), event_text(OLD, "old"), b'{"bad": 1}', b"no json"])
        assert platform.expect_invariant()["failed"] == 3
        failed = platform.query("SELECT record_id FROM failed_events WHERE type = 'timestamp_out_of_range'")
        identity = ("--record-id", failed[0]["record_id"])

        assert replayed(platform, *identity)["failed_again"][0]["field"] == "/timestamp"
        platform.environment["CLICKSTREAM_START"] = "2021-07-01"
        dry = replayed(platform)
        assert (dry["dry_run"], dry["chosen"], dry["passed"]) == (True, 3, {"timestamp_out_of_range": 1})
        assert platform.query("SELECT state FROM failed_events WHERE state <> 'failed'") == []

        outcome = replayed(platform, "--type", "timestamp_out_of_range", "--hour", dry["hours"][0])
        assert (outcome["passed"], outcome["balanced"]) == ({"timestamp_out_of_range": 1}, True)
        [event] = platform.query(
            "SELECT f.record_id, f.arrival_timestamp = r.arrival_timestamp AS as_arrived "
            "FROM flattened_events f JOIN raw_events r USING (record_id) WHERE f.click_id = 'old'"
        )
        assert event == {**failed[0], "as_arrived": True}
        assert platform.query("SELECT outcome, type FROM replays ORDER BY replayed_at") == [
            {"outcome": "failed", "type": "timestamp_out_of_range"},
            {"outcome": "passed", "type": None},
        ]
        assert replayed(platform, *identity)["chosen"] == 0
        assert platform.expect_invariant()["failed"] == 2
        assert replayed(platform, "--all")["passed"] == {}
        with sqlite3.connect(next((platform.home / "dagster").rglob("runs.db"))) as runs:
            shown = runs.execute("SELECT status FROM runs WHERE pipeline_name = 'replay_failed_events'").fetchall()
        assert shown == [("SUCCESS",)] * 5


def test_a_choice_that_cannot_be_meant_is_refused(tmp_path: Path, geo_folder: Path) -> None:
    with Platform(tmp_path / "home", GEOIP_DATABASE=str(geo_folder)) as platform:
        platform.run("replay", "--all", "--type", "malformed_json", status=2)
        platform.run("replay", "--hour", "2026-11-23T04", "--to", "2026-11-23T05", status=2)
        platform.run("replay", "--hour", "yesterday", status=2)
        platform.run("replay", "--stage", "nowhere", status=2)
        assert "no failed event is chosen" in platform.run("replay")
