"""`./run destroy` against an emulator of AWS; what no emulator does by itself stands beside the stack."""

import os
import signal
from contextlib import nullcontext, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import boto3
import pytest
from botocore.exceptions import ClientError
from click.testing import CliRunner

from commands import destroy
from commands.aws.drain import Stage, refusing_requests, wait_until_delivered
from commands.aws.remains import BUCKET, KEY, RETAINED, SNAPSHOTS, remnants
from commands.aws.stacks import NEVER_COMPLETE, Resource, find_stack, resources
from commands.cli import cli
from commands.deploy import deploy_template, ensure_bucket, publish_layer
from commands.package import Zip, write_zip
from resources.aws.firehose import METRICS_DELAY
from streaming.domain.stack import Stack
from streaming.runtime.supervisor import SupervisorError
from tests.commands.test_deploy import ACCOUNT, CODE, STACK, account, jobs, template
from tests.infra.templates import found as values_of
from tests.infra.templates import resources as resources_of_templates
from tests.resources.aws.test_firehose import tell

__all__ = ["account", "jobs", "template"]

LAKE = "clickstream-test-lake"
SEVEN = {"rateLimit": "7", "burstLimit": "9"}
ROLE = "AWS::IAM::Role"
POLICY = "AWS::IAM::ManagedPolicy"

DOCUMENT = '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}'

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300), pytest.mark.usefixtures("account")]


def test_destroying_keeps_the_data_and_says_what_remains(template: Path, jobs: Zip) -> None:
    deployed_with_data(template, jobs)
    refused = CliRunner().invoke(cli, ["destroy", "--stack", STACK], input="clickstream-prod\n")
    assert isinstance(refused.exception, SupervisorError)
    assert find_stack(STACK)
    told = destroyed()
    assert find_stack(STACK) is None
    assert "clickstream-test-lake: kept as it is" in told
    assert "  bucket clickstream-test-lake: ./run destroy --stack clickstream-test --delete-data\n" in told


def test_destroying_with_the_data_leaves_nothing(template: Path, jobs: Zip) -> None:
    deployed_with_data(template, jobs)
    assert "Nothing remains." in destroyed("--delete-data")
    assert boto3.client("s3").list_buckets()["Buckets"] == []


def test_a_stack_that_is_gone_has_its_buckets_removed_by_running_it_again(template: Path, jobs: Zip) -> None:
    """As when credentials expired after the stack was removed, and before its buckets were."""
    deployed_with_data(template, jobs)
    destroyed()
    assert f"  bucket {LAKE}: " in destroyed()
    with pytest.raises(SupervisorError, match="nothing was removed"):
        CliRunner().invoke(cli, ["destroy", "--stack", STACK, "--delete-data"], input="no\n", catch_exceptions=False)
    assert f"{LAKE}: emptied and removed" in destroyed("--delete-data")
    assert boto3.client("s3").list_buckets()["Buckets"] == []


def test_what_a_stack_kept_is_known_after_a_later_one_that_kept_nothing(
    template: Path, jobs: Zip, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a dry run leaves, which reviews an empty stack of the name."""
    deployed_with_data(template, jobs)
    destroyed()
    old, new = "arn:aws:cloudformation:::stack/old", "arn:aws:cloudformation:::stack/new"
    keys = [boto3.client("kms").create_key()["KeyMetadata"]["KeyId"] for _ in range(2)]
    boto3.client("kms").schedule_key_deletion(KeyId=keys[0])
    kept = {old: [Resource(BUCKET, LAKE), *(Resource(KEY, key) for key in (*keys, "gone"))], new: []}
    monkeypatch.setattr(destroy, "find_gone_stacks", lambda name: [new, old])
    monkeypatch.setattr(destroy, "resources", kept.__getitem__)
    told = destroyed("--delete-data")
    assert f"{LAKE}: emptied and removed" in told
    assert boto3.client("s3").list_buckets()["Buckets"] == []
    assert [key for key in (*keys, "gone") if f"  key {key}," in told] == [keys[1]]


def test_what_is_not_there_cannot_be_destroyed() -> None:
    with pytest.raises(SupervisorError, match="there is no stack clickstream-none in account 123456789012"):
        CliRunner().invoke(cli, ["destroy", "--stack", "clickstream-none"], catch_exceptions=False)


def test_a_protected_database_is_let_go(template: Path, jobs: Zip, monkeypatch: pytest.MonkeyPatch) -> None:
    deploy_template(template, STACK, ACCOUNT, [jobs], {})
    made_cluster()
    beside(monkeypatch, Resource(destroy.CLUSTER, STACK))
    assert "clickstream-test: a last snapshot is kept" in destroyed()
    assert boto3.client("rds").describe_db_clusters()["DBClusters"][0]["DeletionProtection"] is False


@pytest.mark.parametrize("rest", ["gone", "under way"])
def test_a_stack_that_is_being_removed_is_waited_for_and_nothing_else(
    rest: str, template: Path, jobs: Zip, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it had is gone in part: neither its API, nor the policy, nor the database is there."""
    deploy_template(template, STACK, ACCOUNT, [jobs], {})
    beside(
        monkeypatch, *delivering("gone"), Resource(destroy.CLUSTER, "gone"), Resource(POLICY, "arn:aws:iam::1:policy/x")
    )
    asked = find_stack(STACK) or {}
    if rest == "gone":
        boto3.client("cloudformation").delete_stack(StackName=STACK)
    monkeypatch.setattr(destroy, "find_stack", lambda name: asked | {"StackStatus": "DELETE_IN_PROGRESS"})
    monkeypatch.setattr(destroy, "_POLL", {"Delay": 0, "MaxAttempts": 2})
    if rest == "gone":
        assert "is gone from us-east-1" in destroyed()
    else:
        with pytest.raises(SupervisorError, match="clickstream-test is still being removed: run this again"):
            destroyed()


# ---- policies that others use ----


@pytest.mark.parametrize("whose", ["role", "user", "group"])
def test_a_policy_that_somebody_uses_is_found_before_anything_is_removed(
    whose: str, template: Path, jobs: Zip, monkeypatch: pytest.MonkeyPatch
) -> None:
    deploy_template(template, STACK, ACCOUNT, [jobs], {})
    iam = boto3.client("iam")
    policy = iam.create_policy(PolicyName="lake", PolicyDocument=DOCUMENT)
    arn = policy["Policy"]["Arn"]
    for role in ("host", "analyst"):
        iam.create_role(RoleName=role, AssumeRolePolicyDocument="{}")
    iam.create_user(UserName="analyst")
    iam.create_group(GroupName="analyst")
    iam.attach_role_policy(RoleName="host", PolicyArn=arn)
    beside(monkeypatch, Resource(POLICY, arn), Resource(ROLE, "host"))
    attach = {"role": iam.attach_role_policy, "user": iam.attach_user_policy, "group": iam.attach_group_policy}
    attach[whose](**{f"{whose.title()}Name": "analyst"}, PolicyArn=arn)
    with pytest.raises(SupervisorError, match=f"first detach the stack's policies: {whose} analyst has {arn}$"):
        destroyed()
    assert find_stack(STACK)


def test_the_stacks_own_role_may_use_its_policy(monkeypatch: pytest.MonkeyPatch) -> None:
    iam = boto3.client("iam")
    policy = iam.create_policy(PolicyName="lake", PolicyDocument=DOCUMENT)
    iam.create_role(RoleName="host", AssumeRolePolicyDocument="{}")
    iam.attach_role_policy(RoleName="host", PolicyArn=policy["Policy"]["Arn"])
    destroy.expect_unattached([Resource(POLICY, policy["Policy"]["Arn"]), Resource(ROLE, "host")])


# ---- delivery of what was accepted ----


def test_the_stack_goes_once_what_it_accepted_is_delivered(
    template: Path, jobs: Zip, api: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def delivered(stack: object) -> datetime:
        seen.append((throttle(api), find_stack(STACK) is not None))
        return datetime.now(UTC) + timedelta(hours=1)

    deploy_template(template, STACK, ACCOUNT, [jobs], {})
    beside(monkeypatch, *delivering(api))
    monkeypatch.setattr(destroy, "_delivered", delivered)
    assert f"{STACK}-events: what it has taken is delivered first" in destroyed()
    assert seen == [((0, 0), True)]
    assert find_stack(STACK) is None


def test_a_delivery_that_is_not_proven_keeps_the_stack_and_takes_requests_again(
    template: Path, jobs: Zip, api: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(*_: object) -> None:
        raise SupervisorError("not provably")

    deploy_template(template, STACK, ACCOUNT, [jobs], {"RequestsPerSecond": "7", "RequestBurst": "9"})
    beside(monkeypatch, *delivering(api))
    monkeypatch.setattr(destroy, "_delivered", unknown)
    with pytest.raises(SupervisorError, match="not provably"):
        destroyed()
    assert throttle(api) == (7, 9)
    assert find_stack(STACK)
    assert f"{STACK}-events: what is not delivered yet is lost" in destroyed("--now")
    assert find_stack(STACK) is None


def test_an_order_that_is_refused_has_requests_taken_in_again(
    template: Path, jobs: Zip, api: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise SupervisorError("not allowed")

    deploy_template(template, STACK, ACCOUNT, [jobs], {"RequestsPerSecond": "7", "RequestBurst": "9"})
    beside(monkeypatch, *delivering(api))
    monkeypatch.setattr(destroy, "_delivered", lambda stack: datetime.now(UTC) + timedelta(hours=1))
    monkeypatch.setattr(destroy, "_delete", refused)
    with pytest.raises(SupervisorError, match="not allowed"):
        destroyed()
    assert throttle(api) == (7, 9)
    assert find_stack(STACK)


@pytest.mark.parametrize(
    ("state", "told"),
    [
        (
            {"EnableTerminationProtection": True},
            "is protected, until `aws cloudformation update-termination-protection",
        ),
        ({"StackStatus": "UPDATE_IN_PROGRESS"}, r"is being changed \(UPDATE_IN_PROGRESS\); try again"),
        ({"StackStatus": "REVIEW_IN_PROGRESS"}, None),
        ({"StackStatus": "DELETE_FAILED"}, None),
    ],
)
def test_a_stack_that_could_not_be_removed_is_left_alone(state: dict[str, object], told: str | None) -> None:
    stack = {"StackName": STACK, "StackStatus": "UPDATE_COMPLETE", "EnableTerminationProtection": False}
    with pytest.raises(SupervisorError, match=told) if told else nullcontext():
        destroy.expect_removable(stack | state)


def test_a_protected_stack_goes_on_taking_requests(
    template: Path, jobs: Zip, api: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    deploy_template(template, STACK, ACCOUNT, [jobs], {})
    beside(monkeypatch, *delivering(api))
    asked = find_stack(STACK) or {}
    monkeypatch.setattr(destroy, "find_stack", lambda name: asked | {"EnableTerminationProtection": True})
    for options in ([], ["--now"]):
        with pytest.raises(SupervisorError, match="nothing was removed: clickstream-test is protected"):
            destroyed(*options)
    assert "*/*" not in boto3.client("apigateway").get_stage(restApiId=api, stageName="v1")["methodSettings"]


@pytest.mark.parametrize("status", NEVER_COMPLETE)
def test_of_a_stack_that_was_never_complete_nothing_is_to_be_delivered(
    status: str, template: Path, jobs: Zip, monkeypatch: pytest.MonkeyPatch
) -> None:
    deploy_template(template, STACK, ACCOUNT, [jobs], {})
    beside(monkeypatch, *delivering())
    asked = find_stack(STACK) or {}
    monkeypatch.setattr(destroy, "find_stack", lambda name: asked | {"StackStatus": status})
    destroyed()
    assert find_stack(STACK) is None


def test_requests_are_refused_until_what_is_done_meanwhile_fails(api: str) -> None:
    stage = Stage(api, "v1", SEVEN)
    with suppress(KeyboardInterrupt), refusing_requests([stage]):
        assert throttle(api) == (0, 0)
        raise KeyboardInterrupt
    assert throttle(api) == (7, 9)
    with refusing_requests([stage]):
        pass
    assert throttle(api) == (0, 0)


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGHUP])
def test_requests_are_taken_in_again_when_the_command_is_told_to_end(ending: signal.Signals, api: str) -> None:
    before = signal.getsignal(ending)
    with pytest.raises(SystemExit, match=str(128 + ending)), refusing_requests([Stage(api, "v1", SEVEN)]):
        os.kill(os.getpid(), ending)
    assert throttle(api) == (7, 9)
    assert signal.getsignal(ending) == before


def test_requests_that_stay_refused_are_told_with_the_command_that_mends_it(
    api: str, capsys: pytest.CaptureFixture[str]
) -> None:
    stages = [Stage(api, "v1", SEVEN), Stage(api, "none", SEVEN)]
    with pytest.raises(ClientError, match="NotFoundException"), refusing_requests(stages):
        pytest.fail("one was not throttled")
    assert throttle(api) == (7, 9)
    refused, command = capsys.readouterr().err.splitlines()[-2:]
    assert refused.startswith("requests are still refused (An error occurred (NotFoundException)")
    assert command == (
        f"  aws apigateway update-stage --rest-api-id {api} --stage-name none --patch-operations "
        "'op=replace,path=/*/*/throttling/rateLimit,value=7' 'op=replace,path=/*/*/throttling/burstLimit,value=9'"
    )


def test_what_kinesis_took_is_delivered_as_far_as_cloudwatch_proves() -> None:
    """Hours are told by stamps, which may be off; what a stack has accepted, by when Kinesis took it."""
    assert destroy._delivered(Stack("clickstream")) is None
    now = datetime.now(UTC).replace(second=0, microsecond=0)
    tell("KinesisMillisBehindLatest", [(now - timedelta(minutes=before), 0) for before in range(40, 0, -1)])
    reached = destroy._delivered(Stack("clickstream"))
    assert reached in (now - METRICS_DELAY, now - METRICS_DELAY + timedelta(minutes=1))


def test_waiting_ends_when_the_moment_is_delivered() -> None:
    moment = datetime(2026, 11, 23, 4, 5, tzinfo=UTC)
    told = iter([None, moment - timedelta(seconds=1), moment, None])
    wait_until_delivered(lambda: next(told), moment, poll_seconds=0)
    assert list(told) == [None]


@pytest.mark.parametrize(
    ("reached", "told"),
    [(None, "to a moment that nobody knows"), (datetime(2026, 11, 23, 4, 4, tzinfo=UTC), "up to 04:04:00")],
)
def test_waiting_without_proof_ends_and_says_how_far_it_came(reached: datetime | None, told: str) -> None:
    moment = datetime(2026, 11, 23, 4, 5, tzinfo=UTC)
    with pytest.raises(SupervisorError, match=f"delivered {told}, and not provably .* 04:05:00 UTC.*--now"):
        wait_until_delivered(lambda: reached, moment, longest=timedelta(0), poll_seconds=0)


# ---- what remains ----


def test_all_that_the_templates_keep_is_told() -> None:
    kept: dict[str, set[str]] = {}
    for _, _, resource in resources_of_templates():
        kept.setdefault(resource.get("DeletionPolicy", "Delete"), set()).add(resource["Type"])
    kept.pop("Delete")
    assert kept.pop("Snapshot") == set(SNAPSHOTS)
    assert set.union(*kept.values()) == {BUCKET, *RETAINED}
    key = boto3.client("kms").create_key()["KeyMetadata"]["KeyId"]
    one_each = [Resource(kind, key) for kind in RETAINED]
    assert len(list(remnants(STACK, one_each, []))) == len(RETAINED)


def test_snapshots_are_of_what_is_named_after_the_stack() -> None:
    names = {"AWS::RDS::DBCluster": "DBClusterIdentifier", "AWS::ElastiCache::ReplicationGroup": "ReplicationGroupId"}
    for _, logical, resource in resources_of_templates(*SNAPSHOTS):
        assert resource["Properties"][names[resource["Type"]]] == {"Ref": "StackName"}, logical


def test_disks_that_stay_are_tagged() -> None:
    for _, logical, resource in resources_of_templates("AWS::EC2::LaunchTemplate"):
        (kept,) = values_of(resource, "DeleteOnTermination")
        assert kept is False
        data = resource["Properties"]["LaunchTemplateData"]
        tags = {each["ResourceType"]: each["Tags"] for each in data["TagSpecifications"]}
        assert tags["volume"] == [{"Key": "clickstream", "Value": {"Ref": "StackName"}}], logical


def test_what_came_into_being_beside_the_stack_is_told(tmp_path: Path) -> None:
    for name in (STACK, f"{STACK}-2"):  # another stack's are not told
        made_cluster(name)
        elasticache = boto3.client("elasticache")
        elasticache.create_replication_group(ReplicationGroupId=name, ReplicationGroupDescription="x", Engine="redis")
        elasticache.create_snapshot(SnapshotName=f"last-of-redis-{name}", ReplicationGroupId=name)
        tags = [{"ResourceType": "volume", "Tags": [{"Key": "clickstream", "Value": name}]}]
        boto3.client("ec2").create_volume(AvailabilityZone="us-east-1a", Size=1, TagSpecifications=tags)
        ensure_bucket("code", ACCOUNT)
        publish_layer(write_zip(tmp_path / "geoip.zip", {"geoip/city.mmdb": name.encode()}), "code", name)
        for group in ("redis", "redis-2", "mysql"):
            boto3.client("logs").create_log_group(logGroupName=f"/aws/lambda/{name}-{group}")
    tagged = [{"Name": "tag:clickstream", "Values": [STACK]}]
    volume = boto3.client("ec2").describe_volumes(Filters=tagged)["Volumes"][0]["VolumeId"]
    assert [what for what, _ in remnants(STACK, [], [])] == [
        f"snapshot last-of-{STACK} of the customers' database",
        f"snapshot last-of-redis-{STACK} of Redis",
        f"volume {volume}, with Dagster's history",
        f"layer {STACK}-geoip, version 1",
        f"logs /aws/lambda/{STACK}-redis",
        f"logs /aws/lambda/{STACK}-mysql",
    ]


# ---- what there is ----


@pytest.fixture
def api() -> str:
    """An API with one stage."""
    gateway = boto3.client("apigateway")
    name = gateway.create_rest_api(name="ingestion")["id"]
    root = gateway.get_resources(restApiId=name)["items"][0]["id"]
    gateway.put_method(restApiId=name, resourceId=root, httpMethod="POST", authorizationType="NONE")
    gateway.put_integration(restApiId=name, resourceId=root, httpMethod="POST", type="MOCK")
    gateway.create_deployment(restApiId=name, stageName="v1")
    return str(name)


def throttle(api: str) -> tuple[float, int]:
    """Requests a second and at once that the API takes."""
    settings = boto3.client("apigateway").get_stage(restApiId=api, stageName="v1")["methodSettings"]["*/*"]
    return settings["throttlingRateLimit"], settings["throttlingBurstLimit"]


def delivering(*apis: str) -> list[Resource]:
    """A Firehose and APIs before it."""
    return [Resource(destroy.DELIVERY, f"{STACK}-events"), *(Resource("AWS::ApiGateway::RestApi", api) for api in apis)]


@pytest.fixture(autouse=True)
def _kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """The emulator has no list of what a stack kept that is gone."""
    beside(monkeypatch)


def beside(monkeypatch: pytest.MonkeyPatch, *others: Resource) -> None:
    """Have the stack have these, too, which the emulator's CloudFormation does not make."""

    def made(arn: str) -> list[Resource]:
        return [*resources(arn), *others] if find_stack(STACK) else [Resource(BUCKET, LAKE)]

    monkeypatch.setattr(destroy, "resources", made)


def made_cluster(name: str = STACK) -> None:
    """A protected Aurora with a snapshot."""
    rds = boto3.client("rds")
    rds.create_db_cluster(
        DBClusterIdentifier=name, Engine="aurora-mysql", MasterUsername="test",
        MasterUserPassword="test-password", DeletionProtection=True,
    )  # fmt: skip
    rds.create_db_cluster_snapshot(DBClusterIdentifier=name, DBClusterSnapshotIdentifier=f"last-of-{name}")


def deployed_with_data(template: Path, jobs: Zip) -> None:
    deploy_template(template, STACK, ACCOUNT, [jobs], {})
    s3 = boto3.client("s3")
    assert {each["Name"] for each in s3.list_buckets()["Buckets"]} == {LAKE, CODE}
    s3.put_bucket_versioning(Bucket=LAKE, VersioningConfiguration={"Status": "Enabled"})
    for content in (b"one", b"two"):
        s3.put_object(Bucket=LAKE, Key="raw/one.json", Body=content)
    s3.delete_object(Bucket=LAKE, Key="raw/one.json")


def destroyed(*options: str) -> str:
    """What the command says of removing the stack."""
    arguments = ["destroy", "--stage", "test", "--confirm", STACK, *options]
    return CliRunner().invoke(cli, arguments, catch_exceptions=False).output
