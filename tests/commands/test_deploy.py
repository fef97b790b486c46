"""`./run deploy` and `./run destroy` against an emulator of CloudFormation, with AWS SAM as it is."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
import click
import pytest
from botocore.stub import Stubber
from click.testing import CliRunner

from commands import destroy, stacks
from commands.cli import cli
from commands.deploy import ENVIRONMENT, check, deploy_template, ensure_bucket, publish_layer, show, upload
from commands.package import Zip, write_zip
from commands.stacks import Account, Resource, find_stack, first_failure, resources, stack_name
from streaming.runtime.supervisor import SupervisorError
from streaming.settings import ROOT
from tests.commands.test_cli import run

STACK = "clickstream-test"
ACCOUNT = Account("123456789012", "us-east-1")
CODE = "clickstream-test-code-123456789012-us-east-1"
ROOT_TEMPLATE = """
AWSTemplateFormatVersion: "2010-09-09"
Parameters:
  ArtifactBucket: {Type: String}
  JobsKey: {Type: String}
  Shards: {Type: Number, Default: 1}
  Owner: {Type: String, Default: nobody}
Resources:
  Lake:
    Type: AWS::CloudFormation::Stack
    Properties: {TemplateURL: lake.yaml}
  Stream:
    Type: AWS::Kinesis::Stream
    Properties: {Name: clickstream-test-events, ShardCount: !Ref Shards}
Outputs:
  LakeBucket: {Value: !GetAtt Lake.Outputs.Bucket}
  JobsKey: {Value: !Ref JobsKey}
"""
LAKE_TEMPLATE = """
AWSTemplateFormatVersion: "2010-09-09"
Resources:
  Bucket:
    Type: AWS::S3::Bucket
    DeletionPolicy: Retain
    UpdateReplacePolicy: Retain
    Properties: {BucketName: clickstream-test-lake}
Outputs:
  Bucket: {Value: !Ref Bucket}
"""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300), pytest.mark.usefixtures("account")]


@pytest.fixture
def account(aws: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The emulated account, by the name under which the emulator finds nested templates in its own S3."""
    config = tmp_path / "aws.config"
    config.write_text("[default]\ns3 =\n  addressing_style = path\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    monkeypatch.setenv("AWS_ENDPOINT_URL", aws.replace("127.0.0.1", "localhost"))


@pytest.fixture
def template(tmp_path: Path) -> Path:
    """A template of a stream, and a bucket in a nested stack."""
    (tmp_path / "lake.yaml").write_text(LAKE_TEMPLATE)
    root = tmp_path / "template.yaml"
    root.write_text(ROOT_TEMPLATE)
    return root


@pytest.fixture
def jobs(tmp_path: Path) -> Zip:
    return write_zip(tmp_path / "jobs.zip", {"job.py": b"print()"})


def test_a_stack_tells_where_it_is_and_how_to_use_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stack = {"StackName": STACK, "StackStatus": "CREATE_COMPLETE", "CreationTime": "2026-11-23T04:05:06Z"}
    outputs = {"LakeBucket": "clickstream-test-lake", "MysqlSecret": "arn:aws:secretsmanager:us-east-1:1:secret:shop"}
    told = [{"OutputKey": key, "OutputValue": value} for key, value in outputs.items()]
    with _cloudformation(monkeypatch, ("describe_stacks", {"Stacks": [stack | {"Outputs": told}]})):
        show(STACK)
    assert capsys.readouterr().out.splitlines() == [
        "LakeBucket               clickstream-test-lake",
        "MysqlSecret              arn:aws:secretsmanager:us-east-1:1:secret:shop",
        "",
        "# for ./run up, verify, materialize, status and query on this deployment",
        "export CLICKSTREAM_DEPLOYMENT=aws",
        "export CLICKSTREAM_STACK=clickstream-test",
        "export CLICKSTREAM_LAKE_BUCKET=clickstream-test-lake",
        "export MYSQL_URL=secretsmanager:arn:aws:secretsmanager:us-east-1:1:secret:shop",
    ]


@pytest.mark.parametrize("name", ["shop--dev", "shop-", "1shop", "Shop", "s", "s" * 29])
def test_a_name_that_a_database_cannot_have_is_refused(name: str) -> None:
    with pytest.raises(click.UsageError, match="3 to 28"):
        stack_name(None, name)
    assert stack_name("dev", None) == "clickstream-dev"


def test_a_stack_is_made_and_changed(template: Path, jobs: Zip) -> None:
    deploy_template(template, STACK, ACCOUNT, [jobs], {"Owner": "the shop's owner"})
    assert _parameters()["Owner"] == "the shop's owner"
    deploy_template(template, STACK, ACCOUNT, [jobs], {"Shards": "2", "Owner": ""})
    deploy_template(template, STACK, ACCOUNT, [jobs], {})  # nothing changes: what is not named keeps its value
    assert (find_stack(STACK) or {})["StackStatus"] == "UPDATE_COMPLETE"
    assert set(resources(STACK)) == {
        ("AWS::S3::Bucket", "clickstream-test-lake"),
        ("AWS::Kinesis::Stream", "clickstream-test-events"),
    }
    jobs_key = f"{STACK}/{jobs.sha256}/jobs.zip"
    assert _parameters() == {"ArtifactBucket": CODE, "JobsKey": jobs_key, "Shards": "2", "Owner": ""}


def _parameters() -> dict[str, str]:
    return {each["ParameterKey"]: each["ParameterValue"] for each in (find_stack(STACK) or {})["Parameters"]}


def test_a_dry_run_changes_nothing(template: Path, jobs: Zip) -> None:
    deploy_template(template, STACK, ACCOUNT, [jobs], {}, dry_run=True)
    assert find_stack(STACK) is None
    deploy_template(template, STACK, ACCOUNT, [jobs], {})
    deploy_template(template, STACK, ACCOUNT, [jobs], {"Shards": "2"}, dry_run=True)
    assert boto3.client("cloudformation").list_change_sets(StackName=STACK)["Summaries"] == []
    assert (find_stack(STACK) or {})["StackStatus"] == "CREATE_COMPLETE"


def test_a_stack_that_was_never_complete_must_go_first(template: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stack = {"StackName": STACK, "StackStatus": "ROLLBACK_COMPLETE", "CreationTime": "2026-11-23T04:05:06Z"}
    with (
        _cloudformation(monkeypatch, ("describe_stacks", {"Stacks": [stack]})),
        pytest.raises(SupervisorError, match="destroy it first"),
    ):
        deploy_template(template, STACK, ACCOUNT, [], {})


def test_the_bucket_of_the_code_is_private_and_versioned() -> None:
    for _ in range(2):
        assert ensure_bucket("code", ACCOUNT._replace(region="eu-west-1")) == "code"
    s3 = boto3.client("s3")
    assert all(s3.get_public_access_block(Bucket="code")["PublicAccessBlockConfiguration"].values())
    assert s3.get_bucket_versioning(Bucket="code")["Status"] == "Enabled"


def test_code_is_not_given_to_another_account(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever knows the stack's name may have made a bucket of the code's name before."""
    s3 = boto3.client("s3")
    monkeypatch.setattr("commands.deploy.client", lambda service: s3)
    with Stubber(s3) as stubber:
        asked = {"Bucket": "code", "ExpectedBucketOwner": ACCOUNT.number}
        stubber.add_client_error("head_bucket", "403", http_status_code=403, expected_params=asked)
        with pytest.raises(SupervisorError, match="cannot be used"):
            ensure_bucket("code", ACCOUNT)
        stubber.assert_no_pending_responses()


def test_every_template_is_linted_and_nothing_else(tmp_path: Path) -> None:
    sound = {"AWSTemplateFormatVersion": "2010-09-09", "Resources": {"Topic": {"Type": "AWS::SNS::Topic"}}}
    (tmp_path / "template.yaml").write_text(json.dumps(sound))
    (tmp_path / "prices.json").write_text("{}")
    check(tmp_path)
    (tmp_path / "tables.json").write_text(json.dumps(sound).replace("Topic", "Tabel"))
    with pytest.raises(SupervisorError, match="have faults"):
        check(tmp_path)


def test_what_is_uploaded_is_named_by_its_content(jobs: Zip) -> None:
    ensure_bucket("code", ACCOUNT)
    assert upload(jobs, "code", STACK) == upload(jobs, "code", STACK) == f"{STACK}/{jobs.sha256}/jobs.zip"
    versions = boto3.client("s3").list_object_versions(Bucket="code")["Versions"]
    assert len(versions) == 1


def test_a_layer_is_published_once(tmp_path: Path) -> None:
    ensure_bucket("code", ACCOUNT)
    layer = write_zip(tmp_path / "geoip.zip", {"geoip/city.mmdb": b"places"})
    first = publish_layer(layer, "code", STACK)
    assert first.endswith(":layer:clickstream-test-geoip:1")
    assert publish_layer(layer, "code", STACK) == first


def test_the_outputs_that_the_environment_needs_are_the_templates() -> None:
    outputs = (ROOT / "infra" / "template.yaml").read_text().partition("\nOutputs:")[2]
    assert not [form for form in ENVIRONMENT.values() if f"\n  {form.partition('{')[2][:-1]}:" not in outputs]


def test_the_resource_that_failed_first_is_found_in_its_nested_stack(monkeypatch: pytest.MonkeyPatch) -> None:
    root, nested = _arn("root"), _arn("nested")
    root_events = [
        _event(root, root, "clickstream-test", "ROLLBACK_COMPLETE"),
        _event(root, nested, "Lake", "CREATE_FAILED", "Embedded stack was not created"),
        _event(root, "topic", "Alarms", "CREATE_FAILED", "Resource creation cancelled"),
        _event(root, root, "clickstream-test", "CREATE_IN_PROGRESS", "User Initiated"),
        _event(root, "old", "Old", "CREATE_FAILED", "of an earlier change"),
    ]
    nested_events = [
        _event(nested, "stream", "Stream", "CREATE_FAILED", "Limit exceeded"),
        _event(nested, nested, "Lake", "CREATE_IN_PROGRESS"),
    ]
    answers = [("describe_stack_events", {"StackEvents": events}) for events in (root_events, nested_events)]
    with _cloudformation(monkeypatch, *answers):
        assert first_failure("clickstream-test") == "Lake: Stream (AWS::Kinesis::Stream): Limit exceeded"


def test_destroying_keeps_the_data_and_says_what_remains(template: Path, jobs: Zip) -> None:
    _deployed_with_data(template, jobs)
    refused = CliRunner().invoke(cli, ["destroy", "--stack", STACK], input="clickstream-prod\n")
    assert isinstance(refused.exception, SupervisorError)
    assert find_stack(STACK)
    told = CliRunner().invoke(cli, ["destroy", "--stage", "test", "--confirm", STACK], catch_exceptions=False).output
    assert find_stack(STACK) is None
    assert "clickstream-test-lake: kept as it is" in told
    assert "clickstream-test-events: what is not delivered yet is lost" in told
    assert "  bucket clickstream-test-lake\n" in told


def test_a_protected_database_is_let_go_and_its_snapshot_remains(
    template: Path, jobs: Zip, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The emulator's CloudFormation makes no databases, so this one stands beside the stack."""
    deploy_template(template, STACK, ACCOUNT, [jobs], {})
    rds = boto3.client("rds")
    rds.create_db_cluster(
        DBClusterIdentifier="customers", Engine="aurora-mysql", MasterUsername="test",
        MasterUserPassword="test-password", DeletionProtection=True,
    )  # fmt: skip
    rds.create_db_cluster_snapshot(DBClusterIdentifier="customers", DBClusterSnapshotIdentifier="last-of-customers")
    monkeypatch.setattr(destroy, "resources", lambda name: [*resources(name), Resource(destroy.CLUSTER, "customers")])
    told = CliRunner().invoke(cli, ["destroy", "--stack", STACK, "--confirm", STACK], catch_exceptions=False).output
    assert rds.describe_db_clusters()["DBClusters"][0]["DeletionProtection"] is False
    assert "customers: a last snapshot is kept" in told
    assert "  snapshot last-of-customers\n" in told


def test_destroying_with_the_data_leaves_nothing(template: Path, jobs: Zip) -> None:
    _deployed_with_data(template, jobs)
    arguments = ["destroy", "--stack", STACK, "--confirm", STACK, "--delete-data"]
    told = CliRunner().invoke(cli, arguments, catch_exceptions=False).output
    assert "Nothing remains." in told
    assert boto3.client("s3").list_buckets()["Buckets"] == []


def test_what_is_not_there_cannot_be_destroyed() -> None:
    with pytest.raises(SupervisorError, match="there is no stack clickstream-none in account 123456789012"):
        CliRunner().invoke(cli, ["destroy", "--stack", "clickstream-none"], catch_exceptions=False)


@pytest.mark.parametrize("command", ["deploy", "destroy"])
def test_a_stack_must_be_named(command: str) -> None:
    answer = CliRunner().invoke(cli, [command])
    assert answer.exit_code == 2
    assert "name a --stage or a --stack" in answer.output


@pytest.mark.parametrize(
    ("environment", "told"),
    [
        ({"AWS_REGION": "us-east-1"}, "no credentials of AWS are found"),
        ({"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}, "no region of AWS is set"),
    ],
)
def test_who_cannot_reach_an_account_is_told_why(
    environment: dict[str, str], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    answer = run("destroy", "--stage", "test", HOME=str(tmp_path), **environment)
    assert answer.returncode == 1
    assert answer.stderr.startswith(f"error: {told}")


def test_a_dry_run_without_an_account_checks_what_needs_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    answer = run("deploy", "--stage", "test", "--dry-run", HOME=str(tmp_path))
    assert answer.returncode == 0, answer.stderr
    assert "the templates are sound; nothing could be compared with a stack: no credentials" in answer.stderr


def _deployed_with_data(template: Path, jobs: Zip) -> None:
    deploy_template(template, STACK, ACCOUNT, [jobs], {})
    s3 = boto3.client("s3")
    s3.put_bucket_versioning(Bucket="clickstream-test-lake", VersioningConfiguration={"Status": "Enabled"})
    for content in (b"one", b"two"):
        s3.put_object(Bucket="clickstream-test-lake", Key="raw/one.json", Body=content)
    s3.delete_object(Bucket="clickstream-test-lake", Key="raw/one.json")


def _arn(name: str) -> str:
    return f"arn:aws:cloudformation:us-east-1:123456789012:stack/{name}/1"


def _event(stack: str, physical: str, logical: str, status: str, reason: str = "") -> dict[str, Any]:
    kind = "AWS::CloudFormation::Stack" if physical.startswith("arn:") else "AWS::Kinesis::Stream"
    event = {
        "StackId": stack, "EventId": logical + status, "StackName": "clickstream-test", "LogicalResourceId": logical,
        "PhysicalResourceId": physical, "ResourceType": kind, "Timestamp": "2026-11-23T04:05:06Z",
        "ResourceStatus": status,
    }  # fmt: skip
    return event | ({"ResourceStatusReason": reason} if reason else {})


@contextmanager
def _cloudformation(monkeypatch: pytest.MonkeyPatch, *answers: tuple[str, dict[str, Any]]) -> Iterator[None]:
    """CloudFormation that is asked these operations, one after the other, and answers so."""
    cloudformation = boto3.client("cloudformation")
    with Stubber(cloudformation) as stub:
        for operation, answer in answers:
            stub.add_response(operation, answer)
        monkeypatch.setattr(stacks, "client", lambda service: cloudformation)
        yield
        stub.assert_no_pending_responses()
