import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming.domain.stack import METRICS
from streaming.edges.aws import client
from streaming.handlers import scale_shards
from streaming.handlers.scale_shards import OPEN_SHARDS, Load, lambda_handler, scale, target_shards
from streaming.settings import ROOT, load_settings

STREAM = "clickstream-events"
SCHEDULE = json.loads((ROOT / "tests/streaming/handlers/events/schedule.json").read_text())
NOW = datetime.now(UTC).replace(second=0, microsecond=0)
BUSY = Load(peak=2, idle_peak=2, throttled=False, steady=False)
IDLE = Load(peak=0.1, idle_peak=0.2, throttled=False, steady=True)


@pytest.fixture
def kinesis(aws: str) -> Iterator[Any]:
    """A stream of two shards."""
    scale_shards._clients.cache_clear()
    kinesis = client("kinesis", attempts=1)
    kinesis.create_stream(StreamName=STREAM, ShardCount=2)
    yield kinesis
    scale_shards._clients.cache_clear()


@pytest.mark.parametrize(
    ("shards", "load", "target"),
    [
        pytest.param(2, BUSY, 4, id="full: half full afterwards"),
        pytest.param(4, BUSY, 4, id="half full: enough"),
        pytest.param(2, BUSY._replace(peak=9), 4, id="doubled at most"),
        pytest.param(2, BUSY._replace(peak=0.1, throttled=True), 3, id="refused writes: one more"),
        pytest.param(8, IDLE, 4, id="halved at most"),
        pytest.param(8, IDLE._replace(steady=False), 8, id="no less so soon after a change"),
        pytest.param(8, IDLE._replace(idle_peak=2.1), 8, id="no less for a few shards"),
        pytest.param(3, IDLE, 2, id="half of an odd number is rounded up"),
        pytest.param(1, IDLE, 1, id="one is the least"),
        pytest.param(16, BUSY._replace(peak=15), 20, id="not beyond what is allowed"),
        pytest.param(64, BUSY, 32, id="back to what is allowed"),
    ],
)
def test_shards_follow_the_load(shards: int, load: Load, target: int) -> None:
    assert target_shards(shards, load, 1, 20) == target


@given(
    shards=st.integers(1, 500),
    load=st.builds(Load, st.floats(0, 1000), st.floats(0, 1000), st.booleans(), st.booleans()),
    least=st.integers(1, 50),
    more=st.integers(0, 500),
)
def test_a_change_is_one_that_the_service_takes(shards: int, load: Load, least: int, more: int) -> None:
    # when
    target = target_shards(shards, load, least, least + more)
    # then
    assert shards / 2 <= target <= 2 * shards
    assert target > 0
    if least <= shards <= least + more:
        assert least <= target <= least + more


def test_a_full_stream_is_given_shards(kinesis: Any) -> None:
    # given
    put_load(records=110_000, minutes_ago=1)
    # when
    answer = lambda_handler(SCHEDULE, None)
    # then
    assert answer == {"shards": 2, "target": 4}
    assert open_shards(kinesis) == 4


def test_bytes_fill_shards_as_records_do(kinesis: Any) -> None:
    put_load(megabytes=100, minutes_ago=1)
    assert lambda_handler(SCHEDULE, None) == {"shards": 2, "target": 4}


def test_a_stream_grows_before_it_takes_more_than_its_consumers_can_read(kinesis: Any) -> None:
    # given: each of three consumers reads all that is written, and a shard lets 2 MiB a second be read
    put_load(megabytes=0.95 * 2 * 60 * 2 / 3, minutes_ago=1)
    # then
    assert lambda_handler(SCHEDULE, None) == {"shards": 2, "target": 4}


def test_refused_writes_add_a_shard(kinesis: Any) -> None:
    put_metric(METRICS, OPEN_SHARDS, 2, minutes_ago=2)
    put_metric("AWS/Kinesis", "WriteProvisionedThroughputExceeded", 7, minutes_ago=1)
    assert lambda_handler(SCHEDULE, None) == {"shards": 2, "target": 3}


def test_refused_writes_add_no_second_shard_right_after_the_first(kinesis: Any) -> None:
    put_metric(METRICS, OPEN_SHARDS, 1, minutes_ago=3)
    put_metric(METRICS, OPEN_SHARDS, 2, minutes_ago=2)
    put_metric("AWS/Kinesis", "WriteProvisionedThroughputExceeded", 7, minutes_ago=3)
    assert lambda_handler(SCHEDULE, None) == {"shards": 2, "target": 2}


def test_a_quiet_stream_gives_shards_back_after_hours_of_the_same_number(kinesis: Any) -> None:
    # given
    put_load(records=100, minutes_ago=30)
    assert scale(load_settings(), kinesis, client("cloudwatch"), NOW)["target"] == 2
    for minutes in range(0, 365, 5):
        put_metric(METRICS, OPEN_SHARDS, 2, minutes_ago=minutes)
    # when
    answer = lambda_handler(SCHEDULE, None)
    # then
    assert answer == {"shards": 2, "target": 1}
    assert open_shards(kinesis) == 1


def test_figures_that_are_not_complete_change_nothing(kinesis: Any) -> None:
    # given
    put_load(records=110_000, minutes_ago=1)

    def answer(parsed: dict[str, Any], **_: Any) -> None:
        parsed["MetricDataResults"][0]["StatusCode"] = "InternalError"

    _, cloudwatch = scale_shards._clients()
    cloudwatch.meta.events.register("after-call.cloudwatch.GetMetricData", answer)
    # then
    assert lambda_handler(SCHEDULE, None) == {"shards": 2, "target": 2}
    assert client("cloudwatch").list_metrics(Namespace=METRICS)["Metrics"]


def test_the_number_of_shards_is_published(kinesis: Any) -> None:
    # when
    lambda_handler(SCHEDULE, None)
    # then
    (metric,) = client("cloudwatch").list_metrics(Namespace=METRICS)["Metrics"]
    assert metric["MetricName"] == OPEN_SHARDS
    assert metric["Dimensions"] == [{"Name": "StreamName", "Value": STREAM}]


@pytest.mark.parametrize("code", ["LimitExceededException", "ResourceInUseException"])
def test_a_refused_change_is_no_error(kinesis: Any, code: str) -> None:
    # given
    put_load(records=110_000, minutes_ago=1)
    kinesis.meta.events.register("before-send.kinesis.UpdateShardCount", lambda **_: refusal(code))
    # when
    answer = scale(load_settings(), kinesis, client("cloudwatch"), datetime.now(UTC))
    # then
    assert answer == {"shards": 2, "target": 2}
    assert open_shards(kinesis) == 2


def test_a_stream_that_is_changing_is_left_alone(kinesis: Any) -> None:
    # given
    put_load(records=110_000, minutes_ago=1)
    summary = kinesis.describe_stream_summary(StreamName=STREAM)["StreamDescriptionSummary"]
    body = {"StreamDescriptionSummary": summary | {"StreamStatus": "UPDATING", "StreamCreationTimestamp": 0}}
    kinesis.meta.events.register("before-send.kinesis.DescribeStreamSummary", lambda **_: response(200, body))
    # when
    answer = scale(load_settings(), kinesis, client("cloudwatch"), datetime.now(UTC))
    # then
    assert answer == {"shards": 2, "target": 2}
    assert open_shards(client("kinesis")) == 2


def put_load(*, records: float = 0, megabytes: float = 0, minutes_ago: int) -> None:
    put_metric("AWS/Kinesis", "IncomingRecords", records, minutes_ago)
    put_metric("AWS/Kinesis", "IncomingBytes", megabytes * 1024 * 1024, minutes_ago)


def put_metric(namespace: str, name: str, value: float, minutes_ago: int) -> None:
    datum = {
        "MetricName": name,
        "Dimensions": [{"Name": "StreamName", "Value": STREAM}],
        "Timestamp": datetime.now(UTC) - timedelta(minutes=minutes_ago),
        "Value": value,
    }
    client("cloudwatch").put_metric_data(Namespace=namespace, MetricData=[datum])


def open_shards(kinesis: Any) -> int:
    return kinesis.describe_stream_summary(StreamName=STREAM)["StreamDescriptionSummary"]["OpenShardCount"]


def refusal(code: str) -> Any:
    return response(400, {"__type": code, "message": "not now"})


def response(status: int, body: Any) -> Any:
    from botocore.awsrequest import AWSResponse

    found = AWSResponse("http://127.0.0.1", status, {}, None)
    found._content = json.dumps(body).encode()
    return found
