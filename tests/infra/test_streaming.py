"""The template of the streaming half says what the code relies on."""

import importlib
import re
from typing import Any

import pytest

from commands.package import lambda_roles
from streaming.domain.tables import ENRICHED_LANDING, HIGH_INTENT_VIEWS, RAW_EVENTS
from streaming.settings import ROOT
from tests.infra.velocity import load_template

HOUR = "year=!{timestamp:yyyy}/month=!{timestamp:MM}/day=!{timestamp:dd}/hour=!{timestamp:HH}/"
TEMPLATE = load_template("streaming.yaml")
RESOURCES = TEMPLATE["Resources"]


def of_kind(kind: str) -> dict[str, dict[str, Any]]:
    """The resources of a kind: their properties by logical name."""
    return {name: each.get("Properties", {}) for name, each in RESOURCES.items() if each["Type"] == kind}


FUNCTIONS = of_kind("AWS::Serverless::Function")


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_runs_its_own_handler_from_its_own_zip(name: str) -> None:
    function = FUNCTIONS[name]
    role = function["FunctionName"].removeprefix("${StackName}-")
    module, _, handler = function["Handler"].rpartition(".")
    assert function["CodeUri"] == f"../.build/{role}.zip"
    assert module == lambda_roles()[role]
    assert callable(getattr(importlib.import_module(module), handler))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_has_a_role_and_logs_of_its_own_and_tells_of_errors(name: str) -> None:
    function = FUNCTIONS[name]
    logs = of_kind("AWS::Logs::LogGroup")[function["LoggingConfig"]["LogGroup"]]
    alarms = of_kind("AWS::CloudWatch::Alarm").values()
    assert logs["LogGroupName"] == f"/aws/lambda/{function['FunctionName']}"
    assert logs["RetentionInDays"] == "LogRetentionDays"
    assert function["Role"] == f"{name}Role.Arn"
    assert [function["Role"] for function in FUNCTIONS.values()].count(function["Role"]) == 1
    assert any(
        each.get("MetricName") == "Errors" and each["Dimensions"] == [{"Name": "FunctionName", "Value": name}]
        for each in alarms
    )


def test_functions_are_told_what_settings_read() -> None:
    told = set(TEMPLATE["Globals"]["Function"]["Environment"]["Variables"])
    for function in FUNCTIONS.values():
        told |= set(function.get("Environment", {}).get("Variables", {}))
    read = set(re.findall(r'"([A-Z][A-Z_]+)"', (ROOT / "streaming" / "settings.py").read_text()))
    assert told <= read


def test_delivery_writes_where_the_lake_looks() -> None:
    events = RESOURCES["EventsDelivery"]["Properties"]["ExtendedS3DestinationConfiguration"]
    views = RESOURCES["HighIntentDelivery"]["Properties"]["ExtendedS3DestinationConfiguration"]
    assert events["Prefix"] == f"{ENRICHED_LANDING.prefix}/{HOUR}"
    assert events["S3BackupConfiguration"]["Prefix"] == f"{RAW_EVENTS.prefix}/{HOUR}"
    assert views["Prefix"] == f"{HIGH_INTENT_VIEWS.prefix}/{HOUR}"
    for table, delivery in ((ENRICHED_LANDING, events), (HIGH_INTENT_VIEWS, views)):
        assert delivery["DataFormatConversionConfiguration"]["SchemaConfiguration"]["TableName"] == table.name
    for delivery in (events, events["S3BackupConfiguration"]):
        assert delivery["ErrorOutputPrefix"] == "failed/!{firehose:error-output-type}/" + HOUR
    assert views["ErrorOutputPrefix"].startswith("errors/high_intent_views/")


def test_no_event_waits_long_for_its_file() -> None:
    """An hour is sealed when delivery has passed its end: buffers are a part of how long that takes."""
    for delivery in of_kind("AWS::KinesisFirehose::DeliveryStream").values():
        assert delivery["ExtendedS3DestinationConfiguration"]["BufferingHints"] == {
            "IntervalInSeconds": 60,
            "SizeInMBs": 64,
        }


@pytest.mark.parametrize("name", of_kind("AWS::Lambda::EventSourceMapping"))
def test_a_mapping_gives_nothing_up_silently(name: str) -> None:
    mapping = of_kind("AWS::Lambda::EventSourceMapping")[name]
    assert mapping["StartingPosition"] == "TRIM_HORIZON"
    assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert mapping["MaximumRetryAttempts"] > 0
    assert mapping["MaximumRecordAgeInSeconds"] > 0
    assert "LakeBucket" in mapping["DestinationConfig"]["OnFailure"]["Destination"]
    assert any(
        each.get("MetricName") == "IteratorAge" and each["Dimensions"][0]["Value"] == mapping["FunctionName"]
        for each in of_kind("AWS::CloudWatch::Alarm").values()
    )
