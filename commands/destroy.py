"""`./run destroy`: take a deployment off AWS, and keep its data unless told otherwise."""

from collections.abc import Collection, Iterable

import click
from botocore.exceptions import ClientError, WaiterError

from commands.cli import say
from commands.stacks import Resource, code_bucket, find_account, find_stack, first_failure, resources, stack_name
from streaming.edges.aws import client
from streaming.runtime.supervisor import SupervisorError

BUCKET = "AWS::S3::Bucket"
CLUSTER = "AWS::RDS::DBCluster"
_SNAPSHOT = "a last snapshot is kept"
KEPT = {BUCKET: "kept as it is", CLUSTER: _SNAPSHOT, "AWS::ElastiCache::ReplicationGroup": _SNAPSHOT}
LOST = {"AWS::Kinesis::Stream": "what is not delivered yet is lost"}
_POLL = {"Delay": 15, "MaxAttempts": 480}


@click.command()
@click.option("--stage", help="Such as dev or prod; the stack is clickstream-STAGE.")
@click.option("--stack", help="The stack's whole name, instead.")
@click.option("--confirm", metavar="STACK", help="The stack's name once more, where nobody can be asked.")
@click.option("--delete-data", is_flag=True, help="Empty and remove its buckets too: all events, for good.")
def destroy(stage: str | None, stack: str | None, confirm: str | None, delete_data: bool) -> None:
    """Remove the stack. Its buckets stay, and last snapshots of its databases, unless --delete-data."""
    name = stack_name(stage, stack)
    account = find_account()
    if not find_stack(name):
        raise SupervisorError(f"there is no stack {name} in account {account.number}, region {account.region}")
    made = list(resources(name))
    _warn(name, made, delete_data)
    if (confirm or click.prompt("type the stack's name to go on", default="", show_default=False, err=True)) != name:
        raise SupervisorError("nothing was removed: that is not the stack's name")
    for cluster in _names(made, CLUSTER):
        client("rds").modify_db_cluster(DBClusterIdentifier=cluster, DeletionProtection=False, ApplyImmediately=True)
    buckets = [*_names(made, BUCKET), code_bucket(name, account)]
    _delete(name)
    if delete_data:
        for bucket in buckets:
            _remove_bucket(bucket)
    _show_what_remains(name, account.region, filter(_exists, buckets), _names(made, CLUSTER))


def _warn(name: str, made: list[Resource], delete_data: bool) -> None:
    say(f"{name} has {len(made)} resources; of these hold data:")
    for kind, resource in made:
        if kind == BUCKET and delete_data:
            say(f"  {resource}: emptied and removed, with every version of every object")
        elif fate := (KEPT | LOST).get(kind):
            say(f"  {resource}: {fate}")


def _delete(name: str) -> None:
    cloudformation = client("cloudformation")
    arn = (find_stack(name) or {})["StackId"]  # a stack that is gone is known by this alone
    cloudformation.delete_stack(StackName=name)
    say(f"removing {name}; this may take half an hour")
    try:
        cloudformation.get_waiter("stack_delete_complete").wait(StackName=arn, WaiterConfig=_POLL)
    except WaiterError:
        raise SupervisorError(f"{name} could not be removed; first failed: {first_failure(arn)}") from None


def _remove_bucket(name: str) -> None:
    s3 = client("s3")
    try:
        for page in s3.get_paginator("list_object_versions").paginate(Bucket=name):
            found = [*page.get("Versions", []), *page.get("DeleteMarkers", [])]
            versions = [{"Key": each["Key"], "VersionId": each["VersionId"]} for each in found]
            if versions:
                answer = s3.delete_objects(Bucket=name, Delete={"Objects": versions, "Quiet": True})
                if errors := answer.get("Errors"):
                    raise SupervisorError(f"{name} cannot be emptied: {errors[0]['Key']}: {errors[0]['Message']}")
        s3.delete_bucket(Bucket=name)
    except ClientError as error:
        if error.response["Error"]["Code"] != "NoSuchBucket":
            raise
    else:
        say(f"removed the bucket {name}")


def _show_what_remains(name: str, region: str, buckets: Iterable[str], clusters: Collection[str]) -> None:
    snapshots = client("rds").describe_db_cluster_snapshots(SnapshotType="manual")["DBClusterSnapshots"]
    kept = [each["DBClusterSnapshotIdentifier"] for each in snapshots if each["DBClusterIdentifier"] in clusters]
    remains = [*(f"bucket {bucket}" for bucket in buckets), *(f"snapshot {snapshot}" for snapshot in kept)]
    click.echo(f"{name} is gone from {region}. " + ("What remains, and costs:" if remains else "Nothing remains."))
    for each in remains:
        click.echo(f"  {each}")


def _exists(bucket: str) -> bool:
    try:
        client("s3").head_bucket(Bucket=bucket)
    except ClientError:
        return False
    return True


def _names(made: list[Resource], kind: str) -> list[str]:
    return [resource.name for resource in made if resource.kind == kind]
