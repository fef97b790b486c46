import gzip
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pybase64
import pytest

from clickstream_assets.failed.errors import collect_failures
from streaming.domain.failures import CONSUMER_STAGES
from streaming.edges.aws import client
from streaming.edges.error_output import Failure, error_line
from streaming.handlers import keep_failed
from streaming.handlers.keep_failed import error_files, lambda_handler
from streaming.settings import ROOT
from tests.s3_lakes import make_s3_lake

EVENTS = ROOT / "tests" / "streaming" / "handlers" / "events"
BUCKET = "clickstream-lake"
OBJECT_CREATED = json.loads((EVENTS / "object_created.json").read_text())
KEY = json.loads(OBJECT_CREATED["Records"][0]["body"])["detail"]["object"]["key"]


@pytest.fixture
def s3(aws: str) -> Iterator[Any]:
    """A lake that holds a batch which was given up."""
    keep_failed._s3.cache_clear()
    s3 = client("s3")
    s3.create_bucket(Bucket=BUCKET)
    s3.put_object(Bucket=BUCKET, Key=KEY, Body=(EVENTS / "given_up_batch.json").read_bytes())
    yield s3
    keep_failed._s3.cache_clear()


def test_a_batch_that_was_given_up_becomes_an_error_file_of_its_hour(s3: Any) -> None:
    # when
    answer = lambda_handler(OBJECT_CREATED, None)
    # then
    (path,) = answer["files"]
    assert path.startswith("failed/last_access/year=2026/month=11/day=23/hour=04/shardId-000000000000-")
    assert CONSUMER_STAGES[0] in path
    lines = [
        json.loads(line) for line in gzip.decompress(s3.get_object(Bucket=BUCKET, Key=path)["Body"].read()).split()
    ]
    sent = json.loads((EVENTS / "kinesis.json").read_text())["Records"][:2]
    assert [line["rawData"] for line in lines] == [record["kinesis"]["data"] for record in sent]
    assert {line["errorCode"] for line in lines} == {"RetryAttemptsExhausted"}
    assert {line["attemptsMade"] for line in lines} == {11}
    assert lines[0]["arrivalTimestamp"] == 1795407309417


def test_the_lines_are_those_of_the_local_deployment() -> None:
    # given
    files = error_files(json.loads((EVENTS / "given_up_batch.json").read_text()), "clickstream")
    # when
    (line, _) = gzip.decompress(next(iter(files.values()))).splitlines()
    # then
    record = next(keep_failed._records(json.loads((EVENTS / "kinesis.json").read_text())))
    local = json.loads(error_line(record, Failure("RetryAttemptsExhausted", "Unhandled", 11), "arn"))
    assert json.loads(line).keys() == local.keys()


def test_the_lake_finds_them_among_the_failures_of_their_hour(aws: str, tmp_path: Path) -> None:
    # given
    lake = make_s3_lake(tmp_path / "lake")
    keep_failed._s3.cache_clear()
    client("s3").put_object(Bucket=BUCKET, Key=KEY, Body=(EVENTS / "given_up_batch.json").read_bytes())
    lambda_handler(OBJECT_CREATED, None)
    # when
    (file,) = collect_failures(datetime(2026, 11, 23, 4, tzinfo=UTC), lake, tmp_path / "failed.parquet")
    # then
    rows = pq.read_table(file).to_pylist()
    assert [(row["record_id"], row["stage"], row["error_code"]) for row in rows] == [
        ("01a206f6b36f69a15e67b22bcb510000", "last_access", "RetryAttemptsExhausted"),
        ("01a206f6b36f69a15e67b22bcb510001", "last_access", "RetryAttemptsExhausted"),
    ]


def test_the_event_may_be_text_or_json() -> None:
    given_up = json.loads((EVENTS / "given_up_batch.json").read_text())
    assert (
        error_files(given_up | {"payload": json.loads(given_up["payload"])}, "clickstream").keys()
        == error_files(given_up, "clickstream").keys()
    )


def test_told_twice_it_writes_the_same_bytes(s3: Any) -> None:
    # given
    (path,) = lambda_handler(OBJECT_CREATED, None)["files"]
    written = s3.get_object(Bucket=BUCKET, Key=path)["Body"].read()
    # when
    assert lambda_handler(OBJECT_CREATED, None) == {"files": [path]}
    # then
    assert s3.get_object(Bucket=BUCKET, Key=path)["Body"].read() == written
    assert s3.list_objects_v2(Bucket=BUCKET, Prefix="failed/")["KeyCount"] == 1


@pytest.mark.parametrize("answer", [{}, {"responseContext": None}], ids=["no answer", "null"])
def test_a_function_that_could_not_be_called_gave_no_answer(answer: dict[str, Any]) -> None:
    # given
    given_up = json.loads((EVENTS / "given_up_batch.json").read_text())
    del given_up["responseContext"]
    # when
    (data,) = error_files(given_up | answer, "clickstream").values()
    # then
    messages = {json.loads(line)["errorMessage"] for line in gzip.decompress(data).splitlines()}
    assert messages == {"the function could not be called"}


def test_an_aggregate_is_kept_as_the_records_in_it() -> None:
    # given
    given_up = json.loads((EVENTS / "given_up_batch.json").read_text())
    given_up["payload"] = (EVENTS / "kinesis_kpl.json").read_text()
    # when
    (data,) = error_files(given_up, "clickstream").values()
    # then
    kept = [json.loads(line)["rawData"] for line in gzip.decompress(data).splitlines()]
    sent = json.loads((EVENTS / "firehose_kpl.json").read_text())["records"]
    assert kept == [record["data"] for record in sent]


def test_records_go_to_the_hours_they_arrived_in() -> None:
    # given
    given_up = json.loads((EVENTS / "given_up_batch.json").read_text())
    batch = json.loads(given_up["payload"])
    late = batch["Records"][1]["kinesis"]
    late["approximateArrivalTimestamp"] += 3600
    late["data"] = pybase64.b64encode_as_string(b"bare")
    # when
    files = error_files(given_up | {"payload": json.dumps(batch)}, "clickstream")
    # then
    assert [path.split("/")[5] for path in files] == ["hour=04", "hour=05"]


def test_a_batch_that_cannot_be_read_fails_the_call_and_stays(s3: Any) -> None:
    # given
    s3.put_object(Bucket=BUCKET, Key=KEY, Body=b"{}")
    # when
    with pytest.raises(KeyError):
        lambda_handler(OBJECT_CREATED, None)
    # then
    assert s3.list_objects_v2(Bucket=BUCKET)["KeyCount"] == 1
