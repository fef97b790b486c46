"""The proxy that injects AWS's faults does what it says, or the fault tests would show nothing."""

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, ConnectionClosedError, ResponseStreamingError
from botocore.exceptions import HTTPClientError as HttpError

from tests.aws_proxy import AwsProxy, Faults, break_off, cut, lose_answer, refuse, refuse_records

ONCE = Config(retries={"total_max_attempts": 1})


def test_what_it_forwards_is_as_it_was(aws):
    with AwsProxy(aws) as proxy:
        s3 = boto3.client("s3", endpoint_url=proxy.address)
        s3.create_bucket(Bucket="lake")
        s3.put_object(Bucket="lake", Key="a b/ü", Body=bytes(range(256)) * 1000)
        assert s3.get_object(Bucket="lake", Key="a b/ü")["Body"].read() == bytes(range(256)) * 1000
        assert s3.head_object(Bucket="lake", Key="a b/ü")["ContentLength"] == 256_000
        assert [found["Key"] for found in s3.list_objects_v2(Bucket="lake")["Contents"]] == ["a b/ü"]


def test_s3_refuses_as_often_as_it_is_told(aws):
    with AwsProxy(aws, Faults(refuse(503, "SlowDown"), 1, lambda request: request.method == "PUT")) as proxy:
        s3 = boto3.client("s3", endpoint_url=proxy.address, config=ONCE)
        with pytest.raises(ClientError, match="SlowDown"):
            s3.create_bucket(Bucket="lake")
        s3.create_bucket(Bucket="lake")
        assert [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]] == ["lake"]


@pytest.mark.parametrize(("fault", "done"), [(cut, False), (lose_answer, True)])
def test_a_cut_connection_comes_before_or_after_the_work(aws, fault, done):
    with AwsProxy(aws, fault) as proxy:
        client = boto3.client("kinesis", endpoint_url=proxy.address, config=ONCE)
        with pytest.raises((ConnectionClosedError, HttpError)):
            client.create_stream(StreamName="events", ShardCount=1)
    names = boto3.client("kinesis").list_streams()["StreamNames"]
    assert names == (["events"] if done else [])


def test_an_answer_breaks_off(aws):
    boto3.client("s3").create_bucket(Bucket="lake")
    boto3.client("s3").put_object(Bucket="lake", Key="a", Body=b"x" * 1000)
    with AwsProxy(aws, break_off) as proxy:
        s3 = boto3.client("s3", endpoint_url=proxy.address, config=ONCE)
        with pytest.raises(ResponseStreamingError, match="500 bytes read"):
            s3.get_object(Bucket="lake", Key="a")["Body"].read()


def test_some_records_of_a_put_are_refused(aws):
    boto3.client("kinesis").create_stream(StreamName="events", ShardCount=1)
    with AwsProxy(aws, Faults(refuse_records([1]), 1, lambda request: request.operation == "PutRecords")) as proxy:
        client = boto3.client("kinesis", endpoint_url=proxy.address)
        records = [{"Data": b"%d" % n, "PartitionKey": "a"} for n in range(3)]
        answer = client.put_records(StreamName="events", Records=records)
        assert answer["FailedRecordCount"] == 1
        assert ["ErrorCode" in record for record in answer["Records"]] == [False, True, False]
        assert client.put_records(StreamName="events", Records=records)["FailedRecordCount"] == 0
        assert proxy.count("PutRecords") == 2
