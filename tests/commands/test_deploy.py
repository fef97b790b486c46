"""`./run deploy` against an emulator of CloudFormation, with AWS SAM as it is."""

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

from commands.aws import stacks
from commands.aws.stacks import Account, find_gone_stacks, find_stack, first_failure, resources, stack_name
from commands.cli import cli
from commands.deploy import (
    ENVIRONMENT,
    check,
    deploy_template,
    ensure_bucket,
    expect_changeable,
    publish_layer,
    show,
    upload,
)
from commands.package import Zip, write_zip
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
  RequestsPerSecond: {Type: Number, Default: 1000}
  RequestBurst: {Type: Number, Default: 2000}
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
    outputs = {"LakeBucket": "clickstream-test-lake", "MysqlSecret": "arn:aws:secretsmanager:us-east-1:1:secret:shop"}
    told = [{"OutputKey": key, "OutputValue": value} for key, value in outputs.items()]
    with _cloudformation(monkeypatch, ("describe_stacks", {"Stacks": [_stack("CREATE_COMPLETE") | {"Outputs": told}]})):
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
    assert _parameters() == {
        "ArtifactBucket": CODE, "JobsKey": jobs_key, "Shards": "2", "Owner": "", "RequestsPerSecond": "1000",
        "RequestBurst": "2000",
    }  # fmt: skip


def _parameters() -> dict[str, str]:
    return {each["ParameterKey"]: each["ParameterValue"] for each in (find_stack(STACK) or {})["Parameters"]}


def test_a_dry_run_changes_nothing(template: Path, jobs: Zip) -> None:
    deploy_template(template, STACK, ACCOUNT, [jobs], {}, dry_run=True)
    assert find_stack(STACK) is None
    deploy_template(template, STACK, ACCOUNT, [jobs], {})
    before = _change_sets()
    deploy_template(template, STACK, ACCOUNT, [jobs], {"Shards": "2"}, dry_run=True)
    assert _change_sets() == before
    assert (find_stack(STACK) or {})["StackStatus"] == "CREATE_COMPLETE"


def _change_sets() -> list[str]:
    found = boto3.client("cloudformation").list_change_sets(StackName=STACK)["Summaries"]
    return [each["ChangeSetName"] for each in found]


@pytest.mark.parametrize(
    ("status", "told"),
    [
        ("CREATE_FAILED", r"was never complete \(CREATE_FAILED\).*`./run destroy --stack clickstream-test` first"),
        ("ROLLBACK_COMPLETE", "was never complete.*`./run destroy --stack clickstream-test` first"),
        ("ROLLBACK_FAILED", "was never complete.*which lets go of a protected database"),
        ("DELETE_FAILED", "half removed: `./run destroy --stack clickstream-test` again"),
        ("UPDATE_ROLLBACK_FAILED", "first failed: Stream .*: Limit exceeded. .* continue-update-rollback --stack-name"),
        ("UPDATE_IN_PROGRESS", r"is being changed \(UPDATE_IN_PROGRESS\)"),
    ],
)
def test_a_stack_that_cannot_be_changed_is_left_alone(status: str, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    answers: list[tuple[str, dict[str, Any]]] = [("describe_stacks", {"Stacks": [_stack(status)]})]
    if status == "UPDATE_ROLLBACK_FAILED":
        root = _arn("root")
        events = [
            _event(root, "stream", "Stream", "UPDATE_FAILED", "Limit exceeded"),
            _event(root, root, "clickstream-test", "UPDATE_IN_PROGRESS"),
        ]
        answers.append(("describe_stack_events", {"StackEvents": events}))
    with _cloudformation(monkeypatch, *answers), pytest.raises(SupervisorError, match=told):
        expect_changeable(STACK)


@pytest.mark.parametrize("status", ["CREATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE", "REVIEW_IN_PROGRESS"])
def test_a_stack_that_can_be_changed_passes(status: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with _cloudformation(monkeypatch, ("describe_stacks", {"Stacks": [_stack(status)]})):
        expect_changeable(STACK)


def test_an_update_keeps_the_shards_that_the_scaler_made(template: Path, jobs: Zip) -> None:
    deploy_template(template, STACK, ACCOUNT, [jobs], {})
    kinesis = boto3.client("kinesis")
    kinesis.update_shard_count(StreamName=f"{STACK}-events", TargetShardCount=2, ScalingType="UNIFORM_SCALING")
    deploy_template(template, STACK, ACCOUNT, [jobs], {"Owner": "the shop"})
    assert _parameters()["Shards"] == "2"
    deploy_template(template, STACK, ACCOUNT, [jobs], {"Shards": "3"})
    assert _parameters()["Shards"] == "3"


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


def test_of_a_stack_that_is_gone_what_it_kept_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    nested = _arn("nested")
    root_lists = [
        _summary("AWS::CloudFormation::Stack", nested, "DELETE_COMPLETE"),
        _summary("AWS::Kinesis::Stream", "events", "DELETE_COMPLETE"),
    ]
    nested_lists = [
        _summary("AWS::S3::Bucket", "lake", "DELETE_SKIPPED"),
        _summary("AWS::Glue::Database", "lake", "DELETE_COMPLETE"),
    ]
    answers = [("list_stack_resources", {"StackResourceSummaries": each}) for each in (root_lists, nested_lists)]
    with _cloudformation(monkeypatch, *answers):
        assert list(resources(_arn("root"))) == [("AWS::S3::Bucket", "lake")]


def test_all_stacks_of_a_name_that_went_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    gone = [
        _stack("DELETE_COMPLETE") | {"StackId": _arn("old"), "CreationTime": "2026-10-01T00:00:00Z"},
        _stack("DELETE_COMPLETE") | {"StackId": _arn("new")},
        _stack("DELETE_COMPLETE") | {"StackId": _arn("other"), "StackName": "clickstream-other"},
    ]
    with _cloudformation(monkeypatch, *[("list_stacks", {"StackSummaries": gone})] * 2):
        assert find_gone_stacks(STACK) == [_arn("old"), _arn("new")]
        assert find_gone_stacks("clickstream-none") == []


def _summary(kind: str, name: str, status: str) -> dict[str, Any]:
    return {
        "LogicalResourceId": "Any", "ResourceType": kind, "PhysicalResourceId": name, "ResourceStatus": status,
        "LastUpdatedTimestamp": "2026-11-23T04:05:06Z",
    }  # fmt: skip


def _stack(status: str) -> dict[str, Any]:
    return {"StackName": STACK, "StackStatus": status, "CreationTime": "2026-11-23T04:05:06Z"}


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
