"""The streaming half of the template, deployed to an emulator of AWS, and each of its functions called there.

With real Redis and MariaDB. What the emulator does not do as AWS does it (Firehose's buffers, the retries of event
source mappings, permissions, networks) is not looked at.
"""

import base64
import gzip
import json
import re
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import redis

from commands.package import build_lambda
from streaming.edges.users_db import migrate
from streaming.settings import ROOT
from tests.infra.emulator import Clients, deploy, wait
from tests.infra.velocity import Gateway

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

EVENTS = ROOT / "tests" / "streaming" / "handlers" / "events"
LAKE, ARTIFACTS = "clickstream-lake", "artifacts"
STREAMING_ROLES = ("enrichment", "last-access", "high-intent", "keep-failed", "data-update", "scale-shards")

Invoke = Callable[[str, str], Any]


@pytest.fixture(scope="module")
def stack(
    session: Clients, servers_environment: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory
) -> set[tuple[str, str]]:
    """The deployed stack, with 1000 customers in MariaDB: kind and name of each of its resources."""
    mysql_url = f"{servers_environment['MYSQL_URL'].rpartition('/')[0]}/emulated"
    migrate(mysql_url)
    secrets = {"RedisSecret": servers_environment["CACHE_REDIS_URL"], "MysqlSecret": mysql_url}
    arns = {
        name: session("secretsmanager").create_secret(Name=name, SecretString=value)["ARN"]
        for name, value in secrets.items()
    }
    for bucket in (LAKE, ARTIFACTS):
        session("s3").create_bucket(Bucket=bucket)
    told = {"EventBridgeConfiguration": {}}
    session("s3").put_bucket_notification_configuration(Bucket=LAKE, NotificationConfiguration=told)
    folder = tmp_path_factory.mktemp("zips")
    for role in STREAMING_ROLES:
        session("s3").upload_file(str(build_lambda(role, folder).file), ARTIFACTS, f"{role}.zip")
    template = (ROOT / "infra" / "streaming.yaml").read_text().replace("../.build/", f"s3://{ARTIFACTS}/")
    # The emulator has no metric math.
    template = re.sub(r"  \w+Alarm:\n(?:    .*\n)*?      Metrics:\n(?:    .*\n)+", "", template)
    values = arns | {
        "StackName": "clickstream", "StreamMode": "PROVISIONED", "Shards": "2", "MinShards": "1", "MaxShards": "32",
        "StreamRetentionHours": "48", "StartDay": "2025-01-01", "TrustPayloadIp": "false",
        "DeliveryTransformMegabytes": "1", "ParallelizationFactor": "1", "LastAccessBatch": "10",
        "CacheConnections": "0", "IpinfoTokenSecret": "", "GeoipLayer": "", "LogRetentionDays": "30",
        "AlarmTopic": session("sns").create_topic(Name="clickstream-alarms")["TopicArn"],
        "KeyArn": session("kms").create_key()["KeyMetadata"]["Arn"],
        "LakeBucket": LAKE, "Database": "clickstream", "SubnetIds": "subnet-1,subnet-2", "SecurityGroup": "sg-1",
    }  # fmt: skip
    return deploy(session, "streaming", template, values).resources


@pytest.fixture
def invoke(session: Clients, stack: set[tuple[str, str]]) -> Invoke:
    """Call a function by its role with a recorded event; what it answers."""

    def call(role: str, event: str) -> Any:
        answer = session("lambda").invoke(
            FunctionName=f"clickstream-{role}", Payload=(EVENTS / f"{event}.json").read_bytes()
        )
        payload = json.load(answer["Payload"])
        assert "FunctionError" not in answer, payload
        return payload

    return call


def test_the_stack_has_every_part_by_its_name(stack: set[tuple[str, str]]) -> None:
    for kind, roles in {
        "AWS::Lambda::Function": STREAMING_ROLES,
        "AWS::Kinesis::Stream": ("events", "high-intent"),
        "AWS::KinesisFirehose::DeliveryStream": ("events", "high-intent"),
    }.items():
        assert {name for each, name in stack if each == kind} == {f"clickstream-{role}" for role in roles}


def test_mappings_read_from_the_oldest_record_and_report_failures(
    session: Clients, stack: set[tuple[str, str]]
) -> None:
    found = session("lambda").list_event_source_mappings()["EventSourceMappings"]
    mappings = [each for each in found if ":kinesis:" in each["EventSourceArn"]]
    assert {each["FunctionArn"].rpartition(":")[2] for each in mappings} == {
        "clickstream-last-access",
        "clickstream-high-intent",
    }
    for mapping in mappings:
        assert mapping["StartingPosition"] == "TRIM_HORIZON"
        assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
        assert mapping["BisectBatchOnFunctionError"]
        assert mapping["MaximumRetryAttempts"] == 10
        assert mapping["DestinationConfig"]["OnFailure"]["Destination"] == f"arn:aws:s3:::{LAKE}"


def test_names_reach_the_cache(invoke: Invoke, cache_redis_url: str) -> None:
    # when
    first, again = invoke("data-update", "schedule"), invoke("data-update", "schedule_full")
    signed_up = invoke("data-update", "sign_up")
    # then
    assert first["updated"] == again["updated"] == 1000
    assert signed_up == {"updated": 1}
    with redis.Redis.from_url(cache_redis_url) as cache:
        assert cache.hget("user:20", "name") == b"Semyon Ryan"


@pytest.mark.parametrize(("event", "good"), [("firehose", [0, 1, 4]), ("firehose_kpl", [0, 1, 2, 3])])
def test_events_are_enriched(invoke: Invoke, cache_redis_url: str, event: str, good: list[int]) -> None:
    # given
    invoke("data-update", "schedule")
    # when
    answers = invoke("enrichment", event)["records"]
    # then
    sent = json.loads((EVENTS / f"{event}.json").read_text())["records"]
    assert [answer["recordId"] for answer in answers] == [record["recordId"] for record in sent]
    assert [place for place, answer in enumerate(answers) if answer["result"] == "Ok"] == good
    row = json.loads(base64.b64decode(answers[0]["data"]))
    assert (row["user_id"], row["name"]) == ("20", "Semyon Ryan")


def test_last_access_is_kept(invoke: Invoke, cache_redis_url: str) -> None:
    # when
    answers = [invoke("last-access", event) for event in ("kinesis", "kinesis_kpl", "kinesis")]
    # then
    assert answers == [{"batchItemFailures": []}] * 3
    with redis.Redis.from_url(cache_redis_url) as cache:
        assert cache.hget("user:20", "last_access") == b"2026-11-23T04:15:00.125000Z"
        assert cache.exists("user:23")


def test_what_the_api_takes_in_reaches_the_functions_behind_the_stream(
    session: Clients, stack: set[tuple[str, str]], cache_redis_url: str
) -> None:
    # given
    sent = {"user_id": "4711", "pixel_id": "p", "click_id": "c", "event_name": "Search"}
    sent["timestamp"] = "2026-01-01 00:00:00"
    rendered = Gateway().render("Request", json.dumps([sent, sent | {"user_id": "4712"}])).json
    records = [record | {"Data": base64.b64decode(record["Data"])} for record in rendered["Records"]]
    # when
    session("kinesis").put_records(StreamName=rendered["StreamName"], Records=records)
    # then
    with redis.Redis.from_url(cache_redis_url) as cache:
        wait(lambda: cache.exists("user:4711", "user:4712") == 2, 60, "nobody's last access came")
        assert cache.hget("user:4711", "last_access") == b"2026-01-01T00:00:00.000000Z"


def test_views_of_high_intent_go_on_their_stream(invoke: Invoke, session: Clients) -> None:
    # when
    answer = invoke("high-intent", "kinesis")
    # then
    assert answer == {"batchItemFailures": []}
    kinesis, stream = session("kinesis"), "clickstream-high-intent"
    (shard,) = kinesis.list_shards(StreamName=stream)["Shards"]
    start = kinesis.get_shard_iterator(StreamName=stream, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON")[
        "ShardIterator"
    ]
    rows = [json.loads(record["Data"]) for record in kinesis.get_records(ShardIterator=start)["Records"]]
    assert [(row["user_id"], row["percent_viewed"]) for row in rows] == [("20", "87.00")]


def test_a_batch_that_was_given_up_is_kept_for_replay(session: Clients, stack: set[tuple[str, str]]) -> None:
    # given
    (message,) = json.loads((EVENTS / "object_created.json").read_text())["Records"]
    key = json.loads(message["body"])["detail"]["object"]["key"]
    s3, kept = session("s3"), {"Bucket": LAKE, "Prefix": "failed/last_access/"}
    # when: S3 tells the bus, the bus the queue, and the queue the function
    s3.put_object(Bucket=LAKE, Key=key, Body=(EVENTS / "given_up_batch.json").read_bytes())
    # then
    wait(lambda: s3.list_objects_v2(**kept)["KeyCount"] > 0, 60, "nothing was kept")
    (file,) = s3.list_objects_v2(**kept)["Contents"]
    data = gzip.decompress(s3.get_object(Bucket=LAKE, Key=file["Key"])["Body"].read())
    assert len(data.splitlines()) == 2


def test_the_scaler_looks_at_the_stream(invoke: Invoke) -> None:
    assert invoke("scale-shards", "schedule") == {"shards": 2, "target": 2}
