"""What the template says of streams, delivery and mappings is what the lake and the handlers rely on."""

import json
import re
from math import isnan, nan
from typing import Any

import pytest

from streaming.domain.tables import ENRICHED_LANDING, HIGH_INTENT_VIEWS, RAW_EVENTS
from streaming.handlers.scale_shards import CONSUMERS
from tests.infra.policies import actions, statements
from tests.infra.templates import load, text_of

HOUR = "year=!{timestamp:yyyy}/month=!{timestamp:MM}/day=!{timestamp:dd}/hour=!{timestamp:HH}/"
RESOURCES = load("streaming.yaml")["Resources"]
# What Lambda calls, as the function's role, to read a stream or a queue for it.
READING = {
    "Stream": {"kinesis:DescribeStream", "kinesis:GetRecords", "kinesis:GetShardIterator", "kinesis:ListShards"},
    "Queue": {"sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ReceiveMessage"},
}


def of_kind(kind: str) -> dict[str, dict[str, Any]]:
    """The resources of a kind: their properties by logical name."""
    return {name: each.get("Properties", {}) for name, each in RESOURCES.items() if each["Type"] == kind}


def watched(metric: str) -> set[str]:
    """What alarms of a metric look at, and tell of."""
    alarms = [each for each in of_kind("AWS::CloudWatch::Alarm").values() if each.get("MetricName") == metric]
    assert all(each["AlarmActions"] == [{"Ref": "AlarmTopic"}] for each in alarms)
    return {text_of(each["Dimensions"][0]["Value"]) for each in alarms}


def computed(alarm: str) -> dict[str, tuple[str, str]]:
    """Of what metrics, of which resource, the number of an alarm is computed, by the names it has for them."""
    properties = of_kind("AWS::CloudWatch::Alarm")[alarm]
    assert properties["AlarmActions"] == [{"Ref": "AlarmTopic"}]
    stats = {each["Id"]: each["MetricStat"] for each in properties["Metrics"] if "MetricStat" in each}
    assert len({(stat["Period"], stat["Stat"]) for stat in stats.values()}) == 1
    return {
        name: (stat["Metric"]["MetricName"], text_of(stat["Metric"]["Dimensions"][0]["Value"]))
        for name, stat in stats.items()
    }


def rings(alarm: str, **figures: float) -> bool:
    """Whether a period with these figures is one of those that an alarm counts. Who is not named told nothing."""
    properties = of_kind("AWS::CloudWatch::Alarm")[alarm]
    (expression,) = (each["Expression"] for each in properties["Metrics"] if "Expression" in each)
    assert properties["ComparisonOperator"] == "GreaterThanThreshold"
    known = dict.fromkeys(computed(alarm), nan) | figures
    functions = {
        "FILL": lambda figure, filler: filler if isnan(figure) else figure,
        "IF": lambda condition, one, other: one if condition else other,
    }
    found: float = eval(re.sub(r"\bAND\b", "and", expression), functions | known)
    return found > properties["Threshold"]


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


READERS = {
    name: each
    for name, each in of_kind("AWS::Lambda::EventSourceMapping").items()
    if text_of(each["EventSourceArn"]).endswith("Stream.Arn}")
}


@pytest.mark.parametrize("kind", ["AWS::Kinesis::Stream", "AWS::KinesisFirehose::DeliveryStream"])
def test_an_update_takes_no_stream_away(kind: str) -> None:
    assert of_kind(kind)
    for name in of_kind(kind):
        assert RESOURCES[name]["UpdateReplacePolicy"] == "Retain"
        assert (
            RESOURCES[name]["DeletionPolicy"] == "Delete"
        )  # a name that is taken would keep the stack from coming back


@pytest.mark.parametrize("name", READERS)
def test_a_mapping_gives_nothing_up_silently(name: str) -> None:
    mapping = READERS[name]
    assert mapping["StartingPosition"] == "TRIM_HORIZON"
    assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert mapping["MaximumRetryAttempts"] > 0
    assert mapping["MaximumRecordAgeInSeconds"] > 0
    assert text_of(mapping["DestinationConfig"]["OnFailure"]["Destination"]).endswith("${LakeBucket}")
    assert text_of(mapping["FunctionName"]) in watched("IteratorAge")


@pytest.mark.parametrize("name", READERS)
def test_a_batch_of_more_than_ten_has_a_window(name: str) -> None:
    """Lambda's API refuses it otherwise."""
    assert READERS[name]["MaximumBatchingWindowInSeconds"] >= 1


def test_the_scaler_knows_how_many_share_what_can_be_read() -> None:
    deliveries = of_kind("AWS::KinesisFirehose::DeliveryStream").values()
    sources = [each["KinesisStreamSourceConfiguration"]["KinesisStreamARN"] for each in deliveries]
    sources += [mapping["EventSourceArn"] for mapping in READERS.values()]
    assert list(map(text_of, sources)).count("${EventsStream.Arn}") == CONSUMERS


def test_what_was_given_up_is_tried_until_it_is_kept() -> None:
    (queue,) = of_kind("AWS::SQS::Queue").values()
    assert queue["MessageRetentionPeriod"] == 14 * 86_400
    assert "RedrivePolicy" not in queue  # no number of tries is the last
    assert queue["VisibilityTimeout"] >= 6 * load("streaming.yaml")["Globals"]["Function"]["Timeout"]
    mapping = of_kind("AWS::Lambda::EventSourceMapping")["KeepFailedMapping"]
    assert text_of(mapping["EventSourceArn"]) == "${GivenUpQueue.Arn}"
    assert mapping["BatchSize"] == 1
    (rule,) = of_kind("AWS::Events::Rule").values()
    assert [text_of(target["Arn"]) for target in rule["Targets"]] == ["${GivenUpQueue.Arn}"]
    # Tries are further apart than an ordinary alarm looks.
    errors = of_kind("AWS::CloudWatch::Alarm")["KeepFailedErrorsAlarm"]
    assert errors["EvaluationPeriods"] == 1
    assert errors["Period"] > queue["VisibilityTimeout"]


@pytest.mark.parametrize("name", of_kind("AWS::Lambda::EventSourceMapping"))
def test_what_a_function_is_called_with_may_be_read(name: str) -> None:
    mapping = of_kind("AWS::Lambda::EventSourceMapping")[name]
    source = text_of(mapping["EventSourceArn"])
    (needed,) = (calls for kind, calls in READING.items() if source.endswith(f"{kind}.Arn}}"))
    role = RESOURCES[f"{mapping['FunctionName']['Ref']}Role"]
    reading = (each for each in statements(role) if text_of(each.get("Resource")) == source)
    assert needed <= {action for each in reading for action in actions(each)}


def test_the_bus_may_tell_the_queue() -> None:
    (policy,) = of_kind("AWS::SQS::QueuePolicy").values()
    (statement,) = statements(policy)
    assert (statement["Principal"], actions(statement)) == ({"Service": "events.amazonaws.com"}, ["sqs:SendMessage"])
    assert text_of(statement["Resource"]) == "${GivenUpQueue.Arn}"
    assert text_of(statement["Condition"]["ArnEquals"]["aws:SourceArn"]) == "${GivenUpRule.Arn}"


def test_whoever_fails_or_falls_behind_is_told_of() -> None:
    functions = {f"${{{name}}}" for name in of_kind("AWS::Serverless::Function")}
    assert watched("Errors") == functions
    assert watched("Throttles") == functions - {"${ScaleShards}"}
    deliveries = {f"${{{name}}}" for name in of_kind("AWS::KinesisFirehose::DeliveryStream")}
    assert watched("DeliveryToS3.DataFreshness") == deliveries
    assert watched("KinesisMillisBehindLatest") == deliveries
    assert watched("FailedConversion.Records") == deliveries
    assert watched("BackupToS3.DataFreshness") == {"${EventsDelivery}"}
    assert watched("WriteProvisionedThroughputExceeded") == {"${EventsStream}"}


@pytest.mark.parametrize(
    ("metric", "statistic", "most"),
    [
        ("DeliveryToS3.DataFreshness", "Maximum", 900),
        ("BackupToS3.DataFreshness", "Maximum", 900),
        ("KinesisMillisBehindLatest", "Maximum", 900_000),
        ("FailedConversion.Records", "Sum", 0),
    ],
)
def test_a_delivery_is_late_after_a_quarter_of_an_hour(metric: str, statistic: str, most: float) -> None:
    alarms = [each for each in of_kind("AWS::CloudWatch::Alarm").values() if each.get("MetricName") == metric]
    told = {(each["Statistic"], each["ComparisonOperator"], each["Threshold"]) for each in alarms}
    assert told == {(statistic, "GreaterThanThreshold", most)}


@pytest.mark.parametrize(
    ("alarm", "metrics"),
    [
        (
            "EventsDeliveryStoppedAlarm",
            {
                "incoming": ("IncomingRecords", "${EventsStream}"),
                "rows": ("DeliveryToS3.Records", "${EventsDelivery}"),
                "raw": ("BackupToS3.Records", "${EventsDelivery}"),
            },
        ),
        (
            "HighIntentDeliveryStoppedAlarm",
            {
                "incoming": ("IncomingRecords", "${HighIntentStream}"),
                "rows": ("DeliveryToS3.Records", "${HighIntentDelivery}"),
            },
        ),
        (
            "KeepFailedLateAlarm",
            {
                "waiting": ("ApproximateNumberOfMessagesVisible", "${GivenUpQueue.QueueName}"),
                "tried": ("ApproximateNumberOfMessagesNotVisible", "${GivenUpQueue.QueueName}"),
            },
        ),
    ],
)
def test_what_an_alarm_computes_with(alarm: str, metrics: dict[str, tuple[str, str]]) -> None:
    assert computed(alarm) == metrics


@pytest.mark.parametrize("alarm", ["EventsDeliveryStoppedAlarm", "HighIntentDeliveryStoppedAlarm"])
def test_a_delivery_that_says_nothing_while_records_come_is_told_of(alarm: str) -> None:
    assert rings(alarm, incoming=7)
    delivered = dict.fromkeys(computed(alarm).keys() - {"incoming"}, 7)
    assert not rings(alarm, incoming=7, **delivered)
    for stopped in delivered:
        assert rings(alarm, incoming=7, **(delivered | {stopped: 0}))
    # What comes at the end of a period is delivered in the next: one period is none, two are half an hour.
    assert not rings(alarm)
    assert not rings(alarm, **delivered)
    properties = of_kind("AWS::CloudWatch::Alarm")[alarm]
    assert properties["EvaluationPeriods"] * properties["Metrics"][1]["MetricStat"]["Period"] == 1800
    assert "DatapointsToAlarm" not in properties


def test_a_batch_that_stays_in_the_queue_is_told_of_whether_it_waits_or_is_tried() -> None:
    assert rings("KeepFailedLateAlarm", waiting=1, tried=0)
    assert rings("KeepFailedLateAlarm", waiting=0, tried=1)
    assert not rings("KeepFailedLateAlarm", waiting=0, tried=0)
    properties = of_kind("AWS::CloudWatch::Alarm")["KeepFailedLateAlarm"]
    assert properties["EvaluationPeriods"] * properties["Metrics"][1]["MetricStat"]["Period"] == 3600


def test_the_dashboard_shows_what_firehose_is_watched_for() -> None:
    body = load("operations.yaml")["Resources"]["Dashboard"]["Properties"]["DashboardBody"]["Fn::Sub"]
    widgets = json.loads(body)["widgets"]
    shown = {metric[1] for each in widgets for metric in each["properties"]["metrics"] if len(metric) > 2}
    alarms = of_kind("AWS::CloudWatch::Alarm")
    plain = {each["MetricName"] for each in alarms.values() if each.get("Namespace") == "AWS/Firehose"}
    assert (
        plain | {metric for name in alarms if "Metrics" in alarms[name] for metric, _ in computed(name).values()}
        <= shown
    )
