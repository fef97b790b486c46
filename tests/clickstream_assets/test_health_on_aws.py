"""The health of a stack on AWS, judged as on one machine: by tables on S3 and figures of CloudWatch."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from botocore.exceptions import ClientError
from click.testing import CliRunner

from clickstream_assets.alerts import alert_sensor
from clickstream_assets.definitions import aws_resources
from clickstream_assets.health import measure_on_aws, overdue_hours
from clickstream_assets.ledger.balance import accounts_until
from commands.cli import cli
from resources.aws.cloudwatch import ACTIVE_ALERTS
from resources.aws.firehose import FirehoseProgress
from resources.aws.s3.lake import S3Lake
from streaming.domain.layout import hour_of
from streaming.domain.stack import METRICS
from streaming.domain.tables import EVENT_LEDGER
from streaming.edges.parquet import arrow_schema
from streaming.runtime.health.alerts import CONDITIONS, active_alerts
from streaming.settings import Settings, load_settings
from tests.aws.conftest import delivered_all
from tests.infra import templates
from tests.s3_lakes import BUCKET, deliver, make_s3_lake
from tests.webhook_server import WebhookServer

NOW = datetime.now(UTC)
THIS_HOUR = hour_of(NOW)
ONE_HOUR = timedelta(hours=1)
LONG_AGO = THIS_HOUR - timedelta(days=30)
WELL = FirehoseProgress(NOW - timedelta(minutes=25), records_come=True)

WriteLedger = Callable[..., None]


@pytest.fixture
def settings(aws: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    environment = {
        "CLICKSTREAM_DEPLOYMENT": "aws",
        "CLICKSTREAM_LAKE_BUCKET": BUCKET,
        "CLICKSTREAM_HOME": str(tmp_path),
        "CACHE_REDIS_URL": "redis://127.0.0.1:1/0",
        "MYSQL_URL": "mysql://shop@127.0.0.1:1/shop",
        "REDIS_URL": "",
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return load_settings()


@pytest.fixture
def lake(settings: Settings) -> S3Lake:
    return make_s3_lake(settings.lake)


@pytest.fixture
def write_ledger(lake: S3Lake) -> WriteLedger:
    """Publish the ledger of an hour that accounts for what has come to it; columns that are not given are 0."""

    def write(hour: datetime, state: str = "balanced", **columns: Any) -> None:
        schema = arrow_schema(EVENT_LEDGER)
        row = {field.name: 0 if field.type == pa.int64() else None for field in schema}
        row |= {"arrival_hour": hour.replace(tzinfo=None), "state": state, "failures_by_type": "{}", **columns}
        row |= {"touched_event_hours": [], "conflict_examples": [], "version": "1"}
        with lake.publishing(EVENT_LEDGER, hour, accounts_until(hour, lake)) as staged:
            pq.write_table(pa.Table.from_pylist([row], schema=schema), staged.path)

    return write


def alerts(settings: Settings, lake: S3Lake, progress: FirehoseProgress = WELL) -> dict[str, str]:
    health = measure_on_aws(settings, lake.snapshot(), progress)
    return {alert.name: alert.summary for alert in active_alerts(health, settings)}


class TestAlerts:
    def test_nothing_is_wrong_where_nothing_is(self, settings: Settings, lake: S3Lake) -> None:
        assert alerts(settings, lake) == {}

    def test_a_red_hour_is_told_however_old(self, settings: Settings, lake: S3Lake, write_ledger: WriteLedger) -> None:
        write_ledger(LONG_AGO, "red", missing_records=3)
        for hours in range(1, 26):
            write_ledger(THIS_HOUR - hours * ONE_HOUR)

        named = f"3 records are unaccounted for in {LONG_AGO:%Y-%m-%d %H:00}"
        assert alerts(settings, lake) == {"ledger_red": named}
        write_ledger(LONG_AGO)
        assert alerts(settings, lake) == {}

    def test_a_flood_of_failures_and_an_outage_of_look_ups(
        self, settings: Settings, lake: S3Lake, write_ledger: WriteLedger
    ) -> None:
        failed = {"failed_records": 9, "failures_by_type": '{"malformed_json": 9}'}
        write_ledger(THIS_HOUR, raw_records=10, enriched_records=1, degraded_records=1, **failed)

        assert alerts(settings, lake).keys() == {"failures_high", "degraded_high"}

    @pytest.mark.parametrize(
        ("behind", "records_come", "late"),
        [(61, True, True), (59, True, False), (None, True, True), (61, False, False), (None, False, False)],
    )
    def test_delivery_is_late_that_is_not_proved_for_an_hour_while_records_come(
        self, settings: Settings, lake: S3Lake, behind: int | None, records_come: bool, late: bool
    ) -> None:
        moment = None if behind is None else datetime.now(UTC) - timedelta(minutes=behind)

        assert ("delivery_late" in alerts(settings, lake, FirehoseProgress(moment, records_come))) is late


class TestOverdue:
    """Of an hour that was over three hours ago."""

    HOUR = THIS_HOUR - 4 * ONE_HOUR
    DONE = FirehoseProgress(NOW)

    def land(self, at: datetime) -> None:
        deliver("raw", self.HOUR + timedelta(minutes=30), at, b"{}\n", number=at.hour, ending=".json.gz")

    def test_an_hour_that_nobody_settled(self, settings: Settings, lake: S3Lake) -> None:
        self.land(self.HOUR + timedelta(minutes=40))

        assert overdue_hours(lake, self.DONE, NOW) == [self.HOUR]
        assert "hour_overdue" in alerts(settings, lake, self.DONE)

    @pytest.mark.parametrize("moment", [None, HOUR + 2 * ONE_HOUR - timedelta(minutes=1)])
    def test_not_before_delivery_has_been_done_with_it_for_an_hour(self, lake: S3Lake, moment: datetime | None) -> None:
        self.land(self.HOUR + timedelta(minutes=40))

        assert overdue_hours(lake, FirehoseProgress(moment), NOW) == []

    def test_what_came_of_late_is_given_an_hour(self, lake: S3Lake) -> None:
        self.land(NOW - timedelta(minutes=50))

        assert overdue_hours(lake, self.DONE, NOW) == []
        assert self.HOUR in overdue_hours(lake, FirehoseProgress(NOW + ONE_HOUR), NOW + ONE_HOUR)


@pytest.fixture
def sensor(settings: Settings, webhook_server: WebhookServer, monkeypatch: pytest.MonkeyPatch) -> Callable[[], str]:
    """A tick of the sensor on the deployment's own edges; it says what is active."""
    cursor: list[str | None] = [None]
    monkeypatch.setenv("CLICKSTREAM_ALERT_WEBHOOK", webhook_server.url)

    def tick() -> str:
        current = load_settings()
        resources = {"health": aws_resources(current)["health"]}
        with (
            dg.instance_for_test() as instance,
            dg.build_sensor_context(instance, cursor[0], resources=resources) as context,
        ):
            result = alert_sensor(current).evaluate_tick(context)
        cursor[0] = result.cursor
        assert result.skip_message
        return result.skip_message

    return tick


def published() -> dict[str, float]:
    """What CloudWatch was told last, by alert."""
    cloudwatch = boto3.client("cloudwatch")
    found = {}
    for metric in cloudwatch.list_metrics(Namespace=METRICS, MetricName=ACTIVE_ALERTS)["Metrics"]:
        dimensions = {each["Name"]: each["Value"] for each in metric["Dimensions"]}
        assert dimensions["Stack"] == "clickstream"
        figures = cloudwatch.get_metric_statistics(
            Namespace=METRICS,
            MetricName=ACTIVE_ALERTS,
            Dimensions=metric["Dimensions"],
            StartTime=NOW - ONE_HOUR,
            EndTime=NOW + ONE_HOUR,
            Period=86_400,
            Statistics=["Maximum"],
        )["Datapoints"]
        found[dimensions["Alert"]] = max(each["Maximum"] for each in figures)
    return found


def test_the_sensor_tells_webhook_and_cloudwatch(
    sensor: Callable[[], str], lake: S3Lake, write_ledger: WriteLedger, webhook_server: WebhookServer
) -> None:
    assert sensor() == "no alert"
    names = {condition.name for condition in CONDITIONS if not condition.is_aws_own}
    assert published() == dict.fromkeys(names, 0.0)

    write_ledger(LONG_AGO, "red", missing_records=3)
    assert sensor().startswith("ledger_red: 3 records are unaccounted for in ")
    assert published() == dict.fromkeys(names, 0.0) | {"ledger_red": 1.0}
    assert [(each["alert"], each["status"]) for each in webhook_server.documents] == [("ledger_red", "firing")]


@pytest.fixture
def session(aws: str, monkeypatch: pytest.MonkeyPatch) -> boto3.Session:
    """The session that clients are made of, whose events are theirs."""
    session = boto3.Session()
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", session)
    return session


def test_where_cloudwatch_does_not_tell_all_nothing_begins_and_nothing_ends(
    sensor: Callable[[], str], write_ledger: WriteLedger, webhook_server: WebhookServer, session: boto3.Session
) -> None:
    write_ledger(LONG_AGO, "red", missing_records=3)
    assert sensor().startswith("ledger_red")
    write_ledger(LONG_AGO)
    state, put = ["PartialData"], []

    def answer(parsed: Any, **_: Any) -> None:
        parsed["MetricDataResults"][0]["StatusCode"] = state[0]

    session.events.register("after-call.cloudwatch.GetMetricData", answer)
    session.events.register("before-call.cloudwatch.PutMetricData", lambda **_: put.append(1))

    assert "PartialData" in sensor()
    assert [each["status"] for each in webhook_server.documents] == ["firing"]
    assert put == []
    state[0] = "Complete"
    assert sensor() == "no alert"
    assert put == [1]
    assert [each["status"] for each in webhook_server.documents] == ["firing", "resolved"]


def test_the_webhook_is_told_where_cloudwatch_takes_nothing(
    sensor: Callable[[], str],
    write_ledger: WriteLedger,
    webhook_server: WebhookServer,
    session: boto3.Session,
    capfd: pytest.CaptureFixture[str],
) -> None:
    def refuse(**_: Any) -> None:
        raise ClientError({"Error": {"Code": "AccessDenied", "Message": "no"}}, "PutMetricData")

    session.events.register("before-call.cloudwatch.PutMetricData", refuse)
    write_ledger(LONG_AGO, "red", missing_records=3)
    for _ in range(2):
        assert sensor().startswith("ledger_red")

    assert [each["status"] for each in webhook_server.documents] == ["firing"]
    assert "cloudwatch:PutMetricData" in capfd.readouterr().err


def test_alarms_are_on_what_is_published_and_on_nothing_else(sensor: Callable[[], str], lake: S3Lake) -> None:
    sensor()
    metrics = boto3.client("cloudwatch").list_metrics(Namespace=METRICS)["Metrics"]
    told = {(each["MetricName"], *sorted((d["Name"], d["Value"]) for d in each["Dimensions"])) for each in metrics}
    watched: dict[str, set[Any]] = {}
    for template, _, alarm in templates.resources("AWS::CloudWatch::Alarm"):
        properties = alarm["Properties"]
        if properties.get("Namespace") == METRICS:
            named = (
                (d["Name"], templates.text_of(d["Value"]).replace("${StackName}", "clickstream"))
                for d in properties["Dimensions"]
            )
            watched.setdefault(template, set()).add((properties["MetricName"], *sorted(named)))

    assert watched["alarms.json"] == told
    assert watched["operations.yaml"] <= told


def test_silence_rings_where_a_host_should_speak() -> None:
    ((_, _, silent),) = (each for each in templates.resources() if each[1] == "DagsterSilentAlarm")
    properties = silent["Properties"]

    assert silent["Condition"] == "HasHost"
    assert (properties["Statistic"], properties["ComparisonOperator"]) == ("SampleCount", "LessThanThreshold")
    assert properties["TreatMissingData"] == "breaching"


def test_status_tells_of_an_old_red_hour(lake: S3Lake, write_ledger: WriteLedger) -> None:
    write_ledger(LONG_AGO, "red", unknown_records=1)
    for hours in range(1, 26):
        write_ledger(THIS_HOUR - hours * ONE_HOUR)

    told = CliRunner().invoke(cli, ["status", "--json"])

    document = json.loads(told.stdout)
    assert (told.exit_code, document["state"]) == (2, "critical")
    assert document["hours"] == {"balanced": 25, "red": 1}
    assert [alert["name"] for alert in document["alerts"]] == ["ledger_red"]
    shown = CliRunner().invoke(cli, ["status"])
    assert f"{LONG_AGO:%Y-%m-%d %H:00}" in shown.stdout
    assert "ledger_red" in shown.stdout


def test_status_warns_of_what_is_overdue(lake: S3Lake) -> None:
    hour = THIS_HOUR - 4 * ONE_HOUR
    deliver("raw", hour, hour + timedelta(minutes=5), b"{}\n", ending=".json.gz")
    delivered_all()

    told = CliRunner().invoke(cli, ["status", "--json"])

    assert (told.exit_code, json.loads(told.stdout)["state"]) == (1, "warning")
