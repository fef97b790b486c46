"""`./run package`: the same bytes every time, no more than is needed, and zips that work where only Lambda's own is."""

import json
import os
import statistics
import subprocess
import sys
import zipfile
from base64 import b64decode
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import boto3
import pytest
import redis

from commands import package
from commands.package import build, install, lambda_roles, reach
from streaming.runtime.supervisor import SupervisorError
from streaming.settings import ROOT
from tests.streaming.cloudformation import CloudFormation
from tests.streaming.conftest import cloudformation

__all__ = ["cloudformation"]

EVENTS = ROOT / "tests" / "streaming" / "handlers" / "events"
MEGABYTE = 1_000_000
DUCKDB = "high-intent"
IMPORT_SECONDS = 0.3
COLD_STARTS = 5

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def zips(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Every zip, by its name."""
    return {built.file.stem: built.file for built in build(tmp_path_factory.mktemp("build"))}


@pytest.fixture(scope="module")
def tasks(zips: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The zip of every Lambda unpacked, by its role."""
    folders = {role: tmp_path_factory.mktemp(role) for role in lambda_roles()}
    for role, folder in folders.items():
        with zipfile.ZipFile(zips[role]) as archive:
            archive.extractall(folder)
    return folders


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of boto3, as Lambda has it."""
    folder = tmp_path_factory.mktemp("runtime")
    install(["boto3"], folder)
    return folder


@pytest.fixture
def invoke(
    tasks: dict[str, Path], runtime: Path, aws_environment: dict[str, str], tmp_path: Path
) -> Callable[..., dict[str, Any]]:
    """Calls a Lambda with events, each by the name of a recorded one or as it is."""

    def run(role: str, *events: str | dict[str, Any], **environment: str) -> dict[str, Any]:
        files = [EVENTS / f"{event}.json" if isinstance(event, str) else tmp_path / f"{role}.json" for event in events]
        for file, event in zip(files, events, strict=True):
            if isinstance(event, dict):
                file.write_text(json.dumps(event))
        return _run(tasks[role], runtime, lambda_roles()[role], files, aws_environment | environment)

    return run


@pytest.fixture
def aws_environment(aws: str) -> dict[str, str]:
    """What Lambda's service and the template put into every function's environment."""
    names = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    return names | {"CLICKSTREAM_DEPLOYMENT": "aws", "CLICKSTREAM_START": "2026-01-01"}


def test_the_same_input_gives_the_same_bytes(zips: dict[str, Path], tmp_path: Path) -> None:
    build_there = f"from commands.package import build; build(pathlib.Path({str(tmp_path)!r}))"
    script = f"import os, pathlib; os.umask(0o077); {build_there}"
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TZ": "Asia/Tokyo", "PYTHONHASHSEED": "7", "LC_ALL": "C"}
    subprocess.run([sys.executable, "-c", script], env=environment, cwd="/", check=True)
    for name, file in zips.items():
        assert (tmp_path / f"{name}.zip").read_bytes() == file.read_bytes(), name


def test_no_zip_is_larger_than_a_cold_start_should_load(zips: dict[str, Path]) -> None:
    sizes = {role: zips[role].stat().st_size for role in lambda_roles()}
    assert sizes.pop(DUCKDB) < 40 * MEGABYTE
    assert max(sizes.values()) < 15 * MEGABYTE


@pytest.mark.parametrize("role", lambda_roles())
def test_a_zip_imports_fast_and_writes_nothing(role: str, tasks: dict[str, Path], runtime: Path) -> None:
    before = sorted(tasks[role].rglob("*"))
    starts = [_run(tasks[role], runtime, lambda_roles()[role], [], {}) for _ in range(COLD_STARTS)]
    assert statistics.median(start["import_seconds"] for start in starts) < IMPORT_SECONDS
    assert sorted(tasks[role].rglob("*")) == before  # what is compiled is there, and is used


@pytest.mark.parametrize("role", lambda_roles())
def test_a_zip_holds_what_is_needed_with_its_licences_and_no_more(role: str, tasks: dict[str, Path]) -> None:
    names = {path.relative_to(tasks[role]).as_posix() for path in tasks[role].rglob("*") if path.is_file()}
    tops = {name.partition("/")[0] for name in names}
    assert not tops & {"boto3", "botocore", "dagster", "pandas", "pyarrow", "resources", "commands", "tests"}
    assert not tops & {"bin", ".lock"}
    assert not [name for name in names if name.endswith((".pyi", ".c", ".pyx"))]
    for information in (top for top in tops if top.endswith(".dist-info")):
        files = "".join(name for name in names if name.startswith(f"{information}/"))
        assert "licenses/" in files or "License" in (tasks[role] / information / "METADATA").read_text()


def test_what_a_handler_reaches() -> None:
    found = reach(["streaming.handlers.data_update"])
    names = {str(file) for file in found.files}
    assert {"streaming/__init__.py", "streaming/edges/users_db.py", "sql/mysql/changed_since.sql"} <= names
    assert {name.rpartition("/")[0] for name in names if name.startswith("sql")} == {"sql/mysql"}
    assert not [name for name in names if name.startswith(("streaming/runtime", "streaming/edges/geo"))]
    assert found.imported == {"boto3", "botocore", "msgspec", "pymysql", "redis"}


def test_packages_come_with_what_they_require_and_extras_as_the_project_asks_for_them(tmp_path: Path) -> None:
    install(["redis", "jsonschema_rs"], tmp_path)
    assert {folder.name.partition("-")[0] for folder in tmp_path.glob("*.dist-info")} == {
        "redis",
        "hiredis",
        "jsonschema_rs",
        "async_timeout",  # for Lambda's Python, which says no more than 3.11, whether or not this one wants it
    }


def test_a_library_that_lambda_cannot_load_is_refused() -> None:
    with pytest.raises(SupervisorError, match=r"fast\.so needs glibc 2\.34; Lambda has 2\.26"):
        package._check_glibc({"fast.so": b"\0GLIBC_2.4\0GLIBC_2.34\0", "old.so": b"GLIBC_2.17"})


def test_the_source_is_what_git_lists(zips: dict[str, Path]) -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    with zipfile.ZipFile(zips["source"]) as archive:
        assert set(archive.namelist()) <= set(listed.stdout.splitlines())
        assert archive.getinfo("run").external_attr >> 16 == 0o100755
        assert archive.getinfo("README.md").external_attr >> 16 == 0o100644


def test_a_geo_database_becomes_a_layer(tmp_path: Path) -> None:
    (tmp_path / "city.mmdb").write_bytes(b"places")
    layer = package.write_zip(tmp_path / "geoip.zip", package._geoip_layer(tmp_path))
    with zipfile.ZipFile(layer.file) as archive:
        assert archive.namelist() == ["geoip/city.mmdb"]


def test_enrichment_answers_firehose(
    invoke: Callable[..., dict[str, Any]], cache_redis_url: str, geo_folder: Path
) -> None:
    (answer,) = invoke("enrichment", "firehose", CACHE_REDIS_URL=cache_redis_url, GEOIP_DATABASE=str(geo_folder))[
        "answers"
    ]
    sent = json.loads((EVENTS / "firehose.json").read_text())["records"]
    assert [record["recordId"] for record in answer["records"]] == [record["recordId"] for record in sent]
    assert [record["result"] for record in answer["records"]] == [
        "Ok",
        "Ok",
        "ProcessingFailed",
        "ProcessingFailed",
        "Ok",
    ]
    row = json.loads(b64decode(answer["records"][0]["data"]))
    assert (row["user_id"], row["country"], row["region"]) == ("20", "US", "California")


def test_last_access_is_kept(invoke: Callable[..., dict[str, Any]], cache_redis_url: str, geo_folder: Path) -> None:
    (answer,) = invoke("last-access", "kinesis", CACHE_REDIS_URL=cache_redis_url, GEOIP_DATABASE=str(geo_folder))[
        "answers"
    ]
    assert answer == {"batchItemFailures": []}
    with redis.Redis.from_url(cache_redis_url, decode_responses=True) as client:
        assert client.hget("user:20", "last_access") == "2026-11-23T04:15:00.125000Z"


def test_names_are_carried_on_schedule_and_at_sign_up(
    invoke: Callable[..., dict[str, Any]], cache_redis_url: str, mysql_url: str
) -> None:
    environment = {"CACHE_REDIS_URL": cache_redis_url, "MYSQL_URL": mysql_url}
    everyone, again, one = invoke("data-update", "schedule", "schedule_full", "sign_up", **environment)["answers"]
    assert (everyone["updated"], again["removed"], one) == (1000, 0, {"updated": 1})
    with redis.Redis.from_url(cache_redis_url, decode_responses=True) as client:
        assert client.hget("user:20", "name") == "Semyon Ryan"


def test_high_intent_views_go_to_their_stream(invoke: Callable[..., dict[str, Any]]) -> None:
    kinesis = boto3.client("kinesis")
    kinesis.create_stream(StreamName="clickstream-high-intent", ShardCount=1)
    (answer,) = invoke("high-intent", "kinesis")["answers"]
    assert answer == {"batchItemFailures": []}
    shard = kinesis.list_shards(StreamName="clickstream-high-intent")["Shards"][0]["ShardId"]
    start = kinesis.get_shard_iterator(
        StreamName="clickstream-high-intent", ShardId=shard, ShardIteratorType="TRIM_HORIZON"
    )
    records = kinesis.get_records(ShardIterator=start["ShardIterator"])["Records"]
    assert [json.loads(record["Data"])["user_id"] for record in records] == ["20"]


def test_the_scaler_looks_at_its_stream(invoke: Callable[..., dict[str, Any]]) -> None:
    boto3.client("kinesis").create_stream(StreamName="clickstream-events", ShardCount=2)
    (answer,) = invoke("scale-shards", "schedule")["answers"]
    assert answer == {"shards": 2, "target": 2}


def test_secrets_are_read_with_the_runtimes_own_boto3(
    invoke: Callable[..., dict[str, Any]], cache_redis_url: str, mysql_url: str
) -> None:
    secrets = boto3.client("secretsmanager")
    secrets.create_secret(Name="cache", SecretString=cache_redis_url)
    secrets.create_secret(Name="shop", SecretString=json.dumps({"url": mysql_url}))
    environment = {"CACHE_REDIS_URL": "secretsmanager:cache", "MYSQL_URL": "secretsmanager:shop#url"}
    (filled,) = invoke("data-update", "schedule", **environment)["answers"]
    assert filled["updated"] == 1000
    (answer,) = invoke("enrichment", "firehose", **environment)["answers"]
    first = json.loads(b64decode(answer["records"][0]["data"]))
    assert first["name"] == "Semyon Ryan"  # also of the first batch, which cannot wait for boto3 to load


def test_a_batch_that_was_given_up_is_kept_for_a_replay(invoke: Callable[..., dict[str, Any]]) -> None:
    (message,) = json.loads((EVENTS / "object_created.json").read_text())["Records"]
    created = json.loads(message["body"])["detail"]
    bucket, s3 = created["bucket"]["name"], boto3.client("s3")
    s3.create_bucket(Bucket=bucket)
    s3.put_object(Bucket=bucket, Key=created["object"]["key"], Body=(EVENTS / "given_up_batch.json").read_bytes())
    (answer,) = invoke("keep-failed", "object_created")["answers"]
    (file,) = answer["files"]
    assert file.startswith("failed/last_access/year=2026/month=11/day=23/hour=04/")
    assert s3.list_objects_v2(Bucket=bucket, Prefix=file)["KeyCount"] == 1


@pytest.mark.parametrize(("role", "told"), [("set-up-database", "SUCCESS"), ("set-up-warehouse", "FAILED")])
def test_cloudformation_is_told_what_came_of_its_request(
    role: str, told: str, invoke: Callable[..., dict[str, Any]], cloudformation: CloudFormation
) -> None:
    """The emulator has no warehouse: that it cannot be reached must not leave the stack waiting."""
    invoke(role, cloudformation.event("Delete", {"WorkgroupArn": "arn:aws:redshift-serverless:::workgroup/none"}))
    assert [answer["Status"] for answer in cloudformation.answers] == [told]


def _run(
    task: Path, runtime: Path, module: str, events: Sequence[Path], environment: Mapping[str, str]
) -> dict[str, Any]:
    script = Path(__file__).with_name("lambda_runtime.py")
    command = [sys.executable, "-I", "-S", script, task, runtime, f"{module}.lambda_handler", *events]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer
