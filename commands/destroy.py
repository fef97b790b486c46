"""`./run destroy`: take a deployment off AWS, and keep its data unless told otherwise."""

from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from typing import Any

import click
from botocore.exceptions import ClientError, WaiterError

from commands.aws.drain import SETTLING, refusing_requests, stages_of, wait_until_delivered
from commands.aws.remains import BUCKET, SNAPSHOTS, exists, remnants
from commands.aws.stacks import (
    BEING_REMOVED,
    IN_REVIEW,
    NEVER_COMPLETE,
    Resource,
    code_bucket,
    find_account,
    find_gone_stacks,
    find_stack,
    first_failure,
    resources,
    stack_name,
)
from commands.cli import say
from streaming.domain.envelope import MAX_STAMP_DRIFT
from streaming.domain.stack import Stack
from streaming.edges.aws import client
from streaming.runtime.supervisor import SupervisorError

CLUSTER = "AWS::RDS::DBCluster"
DELIVERY = "AWS::KinesisFirehose::DeliveryStream"
API = "AWS::ApiGateway::RestApi"
KEPT = dict.fromkeys(SNAPSHOTS, "a last snapshot is kept")
FATE_OF_BUCKETS = {False: "kept as it is", True: "emptied and removed, with every version of every object"}
UNDELIVERED = {False: "what it has taken is delivered first", True: "what is not delivered yet is lost"}
_POLL = {"Delay": 15, "MaxAttempts": 480}


@click.command()
@click.option("--stage", help="Such as dev or prod; the stack is clickstream-STAGE.")
@click.option("--stack", help="The stack's whole name, instead.")
@click.option("--confirm", metavar="STACK", help="The stack's name once more, where nobody can be asked.")
@click.option("--delete-data", is_flag=True, help="Empty and remove its buckets too: all events, for good.")
@click.option("--now", is_flag=True, help="Do not wait until what was accepted is in the lake: it is lost.")
def destroy(stage: str | None, stack: str | None, confirm: str | None, delete_data: bool, now: bool) -> None:
    """Remove the stack, once what it accepted is in the lake. Its buckets stay, unless --delete-data, and last
    snapshots of its databases; what stays is listed. Run again, it goes on where it was interrupted."""
    name = stack_name(stage, stack)
    account = find_account()
    found = find_stack(name)
    arns = [*([found["StackId"]] if found else []), *find_gone_stacks(name)]
    if not arns:
        raise SupervisorError(f"there is no stack {name} in account {account.number}, region {account.region}")
    made = _resources(arns)
    buckets = [*_names(made, BUCKET), code_bucket(name, account)]
    is_to_ask = found is not None and found["StackStatus"] != BEING_REMOVED
    if found and is_to_ask:
        expect_removable(found)
        expect_unattached(made)
    if found or delete_data:
        _warn(name, made, buckets, KEPT | ({DELIVERY: UNDELIVERED[now]} if is_to_ask else {}), delete_data)
        if (
            confirm or click.prompt("type the stack's name to go on", default="", show_default=False, err=True)
        ) != name:
            raise SupervisorError("nothing was removed: that is not the stack's name")
    if found and is_to_ask:
        _ask(found, made, now)
    if found:
        _wait(found)
    if delete_data:
        for bucket in buckets:
            _remove_bucket(bucket)
    left = list(remnants(name, _resources(arns), buckets))
    click.echo(
        f"{name} is gone from {account.region}. "
        + ("What it leaves, and how that goes:" if left else "Nothing remains.")
    )
    for what, removal in left:
        click.echo(f"  {what}: {removal}")


def expect_removable(stack: dict[str, Any]) -> None:
    """Have CloudFormation take an order to remove a stack, before anything is done to it.

    Raises:
        SupervisorError: it would not, for the stack is protected or being changed.
    """
    name, status = stack["StackName"], stack["StackStatus"]
    if stack.get("EnableTerminationProtection"):
        raise SupervisorError(
            f"nothing was removed: {name} is protected, until `aws cloudformation update-termination-protection "
            f"--stack-name {name} --no-enable-termination-protection`"
        )
    if status.endswith("_IN_PROGRESS") and status != IN_REVIEW:
        raise SupervisorError(f"nothing was removed: {name} is being changed ({status}); try again when that has ended")


def expect_unattached(made: list[Resource]) -> None:
    """Have nobody but the stack's own roles use its policies, for IAM would not let these go.

    Raises:
        SupervisorError: somebody does; the message names them.
    """
    own = set(_names(made, "AWS::IAM::Role"))
    users = [
        f"{user} has {policy}"
        for policy in _names(made, "AWS::IAM::ManagedPolicy")
        for user in _users(policy)
        if user.removeprefix("role ") not in own
    ]
    if users:
        raise SupervisorError(f"nothing was removed: first detach the stack's policies: {'; '.join(users)}")


def _users(policy: str) -> Iterator[str]:
    for page in client("iam").get_paginator("list_entities_for_policy").paginate(PolicyArn=policy):
        yield from (f"role {each['RoleName']}" for each in page["PolicyRoles"])
        yield from (f"user {each['UserName']}" for each in page["PolicyUsers"])
        yield from (f"group {each['GroupName']}" for each in page["PolicyGroups"])


def _warn(name: str, made: list[Resource], buckets: list[str], fates: dict[str, str], delete_data: bool) -> None:
    say(f"{name} has {len(made)} resources; of these hold data:")
    for bucket in filter(exists, buckets):
        say(f"  {bucket}: {FATE_OF_BUCKETS[delete_data]}")
    for kind, resource in made:
        if kind in fates:
            say(f"  {resource}: {fates[kind]}")


def _ask(found: dict[str, Any], made: list[Resource], now: bool) -> None:
    if now or found["StackStatus"] in NEVER_COMPLETE or not _names(made, DELIVERY):
        _delete(found, made)
        return
    with refusing_requests(stages_of(found, _names(made, API))):
        say("no request is taken in any more; what was accepted is delivered first, which takes about half an hour")
        wait_until_delivered(partial(_delivered, Stack(found["StackName"])), datetime.now(UTC) + SETTLING)
        _delete(found, made)


def _delivered(stack: Stack) -> datetime | None:
    """Until when what Kinesis took, whatever its stamps say, is in the lake; None when nobody knows."""
    from resources.aws.firehose import FirehoseDelivery  # Dagster, which takes seconds to load

    reached = FirehoseDelivery(stack).progress().caught_up_to
    return reached + MAX_STAMP_DRIFT if reached else None


def _delete(found: dict[str, Any], made: list[Resource]) -> None:
    for cluster in _names(made, CLUSTER):
        client("rds").modify_db_cluster(DBClusterIdentifier=cluster, DeletionProtection=False, ApplyImmediately=True)
    client("cloudformation").delete_stack(StackName=found["StackName"])


def _wait(found: dict[str, Any]) -> None:
    name, arn = found["StackName"], found["StackId"]  # a stack that is gone is known by its ARN alone
    say(f"removing {name}; this may take half an hour")
    try:
        client("cloudformation").get_waiter("stack_delete_complete").wait(StackName=arn, WaiterConfig=_POLL)
    except WaiterError:
        if (find_stack(arn) or found)["StackStatus"] == BEING_REMOVED:
            raise SupervisorError(f"{name} is still being removed: run this again, which waits on") from None
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


def _resources(arns: list[str]) -> list[Resource]:
    """What stacks of one name have, and those that are gone kept; one may have what an earlier one kept."""
    return list(dict.fromkeys(resource for arn in arns for resource in resources(arn)))


def _names(made: list[Resource], kind: str) -> list[str]:
    return [resource.name for resource in made if resource.kind == kind]
