"""The alerts sensor, tick by tick, against a real webhook: each beginning and end told once, and none ever lost."""

from dataclasses import replace
from datetime import UTC, datetime

import dagster as dg
import pytest

from clickstream_assets.alerts import alert_sensor
from clickstream_assets.health import LocalHealth
from resources.lake import DirectoryLake
from streaming.settings import Settings
from tests.streaming.runtime.health.conftest import WriteLedger, write_ledger
from tests.webhook_server import WebhookServer

__all__ = ["write_ledger"]

HOUR = datetime(2026, 11, 20, 9, tzinfo=UTC)
THIS_HOUR = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)


class Sensor:
    """Ticks as Dagster's daemon has it tick; every tick is a new process but for the cursor."""

    def __init__(self, settings: Settings, instance: dg.DagsterInstance) -> None:
        self._settings = settings
        self._instance = instance
        self.cursor: str | None = None

    def tick(self, webhook: str) -> str:
        """The active alerts, as the tick says them."""
        sensor = alert_sensor(replace(self._settings, alert_webhook=webhook))
        health = LocalHealth(self._settings)
        with dg.build_sensor_context(self._instance, self.cursor, resources={"health": health}) as context:
            result = sensor.evaluate_tick(context)
        self.cursor = result.cursor
        assert result.skip_message
        return result.skip_message


@pytest.fixture
def sensor(platform: Settings, instance: dg.DagsterInstance) -> Sensor:
    return Sensor(platform, instance)


def told(server: WebhookServer) -> list[tuple[str, str]]:
    return [(document["alert"], document["status"]) for document in server.documents]


def test_an_alert_is_told_when_it_begins_and_when_it_ends_once_each(
    sensor: Sensor, webhook_server: WebhookServer, write_ledger: WriteLedger
) -> None:
    assert sensor.tick(webhook_server.url) == "no alert"
    write_ledger(HOUR, "red", missing_records=3)
    for _ in range(2):
        active = sensor.tick(webhook_server.url)
        assert active == "ledger_red: 3 records are unaccounted for in 2026-11-20 09:00"
    write_ledger(HOUR, "balanced")
    for _ in range(2):
        assert sensor.tick(webhook_server.url) == "no alert"

    assert told(webhook_server) == [("ledger_red", "firing"), ("ledger_red", "resolved")]
    firing, resolved = webhook_server.documents
    assert firing["text"].startswith("CRITICAL ledger_red: 3 records are unaccounted for in 2026-11-20 09:00. ")
    assert firing["severity"] == "critical"
    assert firing["advice"] in firing["text"]
    assert "ended_at" not in firing
    assert resolved["text"].startswith("RESOLVED ledger_red")
    assert firing["began_at"] == resolved["began_at"] < resolved["ended_at"]


def test_figures_that_change_are_the_same_alert(
    sensor: Sensor, webhook_server: WebhookServer, write_ledger: WriteLedger
) -> None:
    for missing in (1, 2):
        write_ledger(HOUR, "red", missing_records=missing)
        sensor.tick(webhook_server.url)
    assert told(webhook_server) == [("ledger_red", "firing")]


@pytest.mark.parametrize("trouble", [404, 500])
def test_a_webhook_that_is_away_gets_everything_later_in_order(
    sensor: Sensor, webhook_server: WebhookServer, write_ledger: WriteLedger, trouble: int
) -> None:
    webhook_server.status = trouble
    write_ledger(HOUR, "red", missing_records=1)
    sensor.tick(webhook_server.url)
    failures = {"failed_records": 9, "failures_by_type": '{"malformed_json": 9}'}
    write_ledger(THIS_HOUR, raw_records=10, **failures)
    write_ledger(HOUR, "balanced")
    sensor.tick(webhook_server.url)
    assert webhook_server.documents == []

    webhook_server.status = 204
    sensor.tick(webhook_server.url)
    sensor.tick(webhook_server.url)
    assert told(webhook_server) == [("ledger_red", "firing"), ("ledger_red", "resolved"), ("failures_high", "firing")]


def test_without_a_webhook_alerts_show_and_one_set_later_hears_what_is_still_active(
    sensor: Sensor, webhook_server: WebhookServer, write_ledger: WriteLedger
) -> None:
    write_ledger(HOUR, "red", missing_records=1)
    assert sensor.tick("").startswith("ledger_red")
    write_ledger(HOUR, "balanced")
    failures = {"failed_records": 9, "failures_by_type": '{"malformed_json": 9}'}
    write_ledger(THIS_HOUR, raw_records=10, **failures)
    assert sensor.tick("").startswith("failures_high")

    sensor.tick(webhook_server.url)
    assert told(webhook_server) == [("failures_high", "firing")]


def test_a_failed_run_is_told_without_its_error(
    sensor: Sensor, webhook_server: WebhookServer, instance: dg.DagsterInstance, platform: Settings
) -> None:
    @dg.op
    def fail() -> None:
        raise ValueError("Ada Lovelace")

    @dg.job
    def settle_arrivals() -> None:
        fail()

    settle_arrivals.execute_in_process(instance=instance, raise_on_error=False)
    sensor.tick(webhook_server.url)
    assert webhook_server.documents == []  # it failed before there was a sensor

    run = settle_arrivals.execute_in_process(instance=instance, raise_on_error=False)
    for _ in range(2):
        assert sensor.tick(webhook_server.url) == "no alert"

    [document] = webhook_server.documents
    assert (document["alert"], document["severity"]) == ("run_failed", "warning")
    assert f"{platform.dagster_url}/runs/{run.run_id}" in document["text"]
    assert "settle_arrivals" in document["text"]
    assert "Ada" not in str(document)


def test_neither_cursor_nor_log_holds_the_address(
    sensor: Sensor, webhook_server: WebhookServer, write_ledger: WriteLedger, capfd: pytest.CaptureFixture[str]
) -> None:
    webhook_server.status = 500
    write_ledger(HOUR, "red", missing_records=1)
    sensor.tick(webhook_server.url)
    log = capfd.readouterr().err
    assert "ledger_red" in log
    assert "T0KEN" not in log
    assert sensor.cursor
    assert "T0KEN" not in sensor.cursor


def test_the_platform_has_the_sensor(definitions: dg.Definitions, lake: DirectoryLake) -> None:
    found = definitions.resolve_sensor_def("send_alerts")
    assert found.default_status == dg.DefaultSensorStatus.RUNNING
