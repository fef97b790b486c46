"""What the template says of streams, delivery and mappings is what the lake and the handlers rely on."""

from typing import Any

import pytest

from streaming.domain.tables import ENRICHED_LANDING, HIGH_INTENT_VIEWS, RAW_EVENTS
from tests.infra.templates import load, text_of

HOUR = "year=!{timestamp:yyyy}/month=!{timestamp:MM}/day=!{timestamp:dd}/hour=!{timestamp:HH}/"
RESOURCES = load("streaming.yaml")["Resources"]


def of_kind(kind: str) -> dict[str, dict[str, Any]]:
    """The resources of a kind: their properties by logical name."""
    return {name: each.get("Properties", {}) for name, each in RESOURCES.items() if each["Type"] == kind}


def watched(metric: str) -> set[str]:
    """What alarms of a metric look at, and tell of."""
    alarms = [each for each in of_kind("AWS::CloudWatch::Alarm").values() if each.get("MetricName") == metric]
    assert all({"Ref": "AlarmTopic"} in each["AlarmActions"] for each in alarms)
    return {text_of(each["Dimensions"][0]["Value"]) for each in alarms}


def test_delivery_writes_where_the_lake_looks() -> None:
    events, views = (
        RESOURCES[name]["Properties"]["ExtendedS3DestinationConfiguration"]
        for name in ("EventsDelivery", "HighIntentDelivery")
    )
    assert events["Prefix"] == f"{ENRICHED_LANDING.prefix}/{HOUR}"
    assert events["S3BackupConfiguration"]["Prefix"] == f"{RAW_EVENTS.prefix}/{HOUR}"
    assert views["Prefix"] == f"{HIGH_INTENT_VIEWS.prefix}/{HOUR}"
    for table, delivery in ((ENRICHED_LANDING, events), (HIGH_INTENT_VIEWS, views)):
        assert delivery["DataFormatConversionConfiguration"]["SchemaConfiguration"]["TableName"] == table.name
        assert delivery["BufferingHints"] == {"IntervalInSeconds": 60, "SizeInMBs": 64}
    for delivery in (events, events["S3BackupConfiguration"]):
        assert delivery["ErrorOutputPrefix"] == "failed/!{firehose:error-output-type}/" + HOUR
    assert views["ErrorOutputPrefix"] == "errors/high_intent_views/!{firehose:error-output-type}/" + HOUR


@pytest.mark.parametrize("name", of_kind("AWS::Lambda::EventSourceMapping"))
def test_a_mapping_gives_nothing_up_silently(name: str) -> None:
    mapping = of_kind("AWS::Lambda::EventSourceMapping")[name]
    assert mapping["StartingPosition"] == "TRIM_HORIZON"
    assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert mapping["MaximumRetryAttempts"] > 0
    assert mapping["MaximumRecordAgeInSeconds"] > 0
    assert text_of(mapping["DestinationConfig"]["OnFailure"]["Destination"]).endswith("${LakeBucket}")
    assert text_of(mapping["FunctionName"]) in watched("IteratorAge")


def test_whoever_fails_or_falls_behind_is_told_of() -> None:
    functions = {f"${{{name}}}" for name in of_kind("AWS::Serverless::Function")}
    assert watched("Errors") == functions
    assert watched("Throttles") == functions - {"${ScaleShards}"}
    deliveries = {f"${{{name}}}" for name in of_kind("AWS::KinesisFirehose::DeliveryStream")}
    assert watched("DeliveryToS3.DataFreshness") == deliveries
    assert watched("WriteProvisionedThroughputExceeded") == {"${EventsStream}"}
