"""What a deployment would change, resource by resource, in a stack and in all that are nested in it.

AWS SAM shows the root's changes alone, which of a nested stack say no more than that it changes.
"""

import re
import time
from collections.abc import Collection, Iterator, Mapping
from typing import Any, NamedTuple

from botocore.exceptions import ClientError, WaiterError

from commands.aws.stacks import IN_REVIEW, NESTED, find_stack, resources
from streaming.edges.aws import client
from streaming.runtime.supervisor import SupervisorError

CAPABILITIES = ("CAPABILITY_IAM", "CAPABILITY_NAMED_IAM", "CAPABILITY_AUTO_EXPAND")
# A Firehose that is made anew begins with what comes then: of records that nobody had delivered, nothing tells.
HOLDERS_OF_DATA = {
    "AWS::ElastiCache::ReplicationGroup",
    "AWS::KMS::Key",
    "AWS::Kinesis::Stream",
    "AWS::KinesisFirehose::DeliveryStream",
    "AWS::RDS::DBCluster",
    "AWS::S3::Bucket",
}
_NO_CHANGES = ("didn't contain changes", "No updates are to be performed")
_CHANGE_SET = re.compile(r"arn:[^:\s]+:cloudformation:\S+:changeSet/[^\s,]+")
_POLL = {"Delay": 3, "MaxAttempts": 200}


class Change(NamedTuple):
    """What becomes of a resource.

    `action` is CloudFormation's: Add, Modify, Remove, …; `replacement` is True, False, Conditional, or empty where it
    does not apply; `path` is its logical name, behind those of the stacks it is nested in.
    """

    action: str
    replacement: str
    kind: str
    path: str

    @property
    def loses_data(self) -> bool:
        """Whether a resource that holds data goes, or makes room for another; or may, for CloudFormation cannot tell.

        Conditional is no such case: it is said of whatever refers to something that changes, and what is named, as all
        of these are that could be replaced so, CloudFormation refuses to replace under its name.
        """
        is_gone = self.action in ("Remove", "Dynamic") or self.replacement == "True"
        return is_gone and self.kind in HOLDERS_OF_DATA

    def __str__(self) -> str:
        replaced = {"True": ", replaced", "Conditional": ", perhaps replaced"}.get(self.replacement, "")
        return f"{self.action + replaced:24} {self.path} ({self.kind})"


def changes(name: str, template: str, known: Collection[str], parameters: Mapping[str, str]) -> list[Change]:
    """What a template at an address would change. It knows some parameters; those that are not given keep their values.

    Of a stack that is not there yet, nested stacks are told as a whole: CloudFormation cannot look into one whose
    parameters are other resources' names, before these are there.

    Raises:
        SupervisorError: CloudFormation cannot tell; the message has its reason.
    """
    found = find_stack(name) or {"StackStatus": IN_REVIEW}
    is_there = found["StackStatus"] != IN_REVIEW
    kept = {each["ParameterKey"] for each in found.get("Parameters", [])} & set(known) - parameters.keys()
    asked: dict[str, Any] = {
        "StackName": name,
        "ChangeSetName": f"review-{time.time_ns()}",
        "ChangeSetType": "UPDATE" if is_there else "CREATE",
        "TemplateURL": template,
        "Parameters": [
            *({"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()),
            *({"ParameterKey": key, "UsePreviousValue": True} for key in sorted(kept)),
        ],
        "Capabilities": CAPABILITIES,
        "Tags": [{"Key": "clickstream", "Value": name}],
        "IncludeNestedStacks": is_there,
    }
    cloudformation = client("cloudformation")
    change_set = cloudformation.create_change_set(**asked)["Id"]
    try:
        return list(_walk(change_set)) if _is_made(change_set) else []
    finally:
        if is_there:
            cloudformation.delete_change_set(ChangeSetName=change_set)
            _wait_until_gone(change_set)
        else:  # of a new stack an empty shell, which has to be gone before the stack can be made
            cloudformation.delete_stack(StackName=name)
            cloudformation.get_waiter("stack_delete_complete").wait(StackName=name, WaiterConfig=_POLL)


def _wait_until_gone(change_set: str) -> None:
    """Wait for nested change sets to go, which takes longer than the answer; one that stays, sam tells."""
    for _ in range(_POLL["MaxAttempts"]):
        try:
            status = client("cloudformation").describe_change_set(ChangeSetName=change_set)["Status"]
        except ClientError as error:
            if error.response["Error"]["Code"] in ("ChangeSetNotFound", "ValidationError"):
                return
            raise
        if status == "DELETE_FAILED":
            return
        time.sleep(_POLL["Delay"])


def _is_made(change_set: str) -> bool:
    """Wait for a change set; False where there is nothing to change."""
    try:
        client("cloudformation").get_waiter("change_set_create_complete").wait(
            ChangeSetName=change_set, WaiterConfig=_POLL
        )
    except WaiterError as error:
        reason = _reason(change_set)
        if any(told in reason for told in _NO_CHANGES):
            return False
        raise SupervisorError(f"CloudFormation cannot tell what would change: {reason or error}") from error
    return True


def _reason(change_set: str) -> str:
    """Why a change set was not made, which a nested one knows where it is to blame."""
    reason = str(client("cloudformation").describe_change_set(ChangeSetName=change_set).get("StatusReason", ""))
    nested = _CHANGE_SET.search(reason)
    return reason if nested is None or nested[0] == change_set else _reason(nested[0])


def _walk(change_set: str, within: str = "") -> Iterator[Change]:
    pages = client("cloudformation").get_paginator("describe_change_set").paginate(ChangeSetName=change_set)
    for each in (change["ResourceChange"] for page in pages for change in page["Changes"]):
        path, kind = within + each["LogicalResourceId"], each["ResourceType"]
        yield Change(each["Action"], each.get("Replacement", ""), kind, path)
        if nested := each.get("ChangeSetId"):
            yield from _walk(nested, f"{path}/")
        elif kind == NESTED and each["Action"] == "Remove":
            yield from (
                Change("Remove", "", made.kind, f"{path}/{made.name}") for made in resources(each["PhysicalResourceId"])
            )
