"""CloudFormation stacks, as `./run deploy` and `./run destroy` look at them: a root stack and those nested in it."""

import os
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import click
from botocore.exceptions import BotoCoreError, ClientError, ProfileNotFound

from commands.aws.errors import told
from commands.environments import ensure_environment
from streaming.edges.aws import client
from streaming.runtime.supervisor import SupervisorError
from streaming.settings import STACK_FORM

NESTED = "AWS::CloudFormation::Stack"
# Of a stack whose first creation failed: nothing has used it, and it can only be removed.
NEVER_COMPLETE = ("CREATE_FAILED", "ROLLBACK_COMPLETE", "ROLLBACK_FAILED")
BEING_REMOVED = "DELETE_IN_PROGRESS"
# Of a stack that holds nothing but a change set.
IN_REVIEW = "REVIEW_IN_PROGRESS"
_CANCELLED = "cancelled"


class Account(NamedTuple):
    """Where a stack lives: an account of AWS and a region."""

    number: str
    region: str


class NoAccountError(SupervisorError):
    """No account can be reached; the message says why, and what to do."""


class Resource(NamedTuple):
    """A resource of a stack or of one nested in it."""

    kind: str
    name: str


def stack_name(stage: str | None, stack: str | None) -> str:
    """The stack of a stage, or the one that is named."""
    if stage and stack:
        raise click.UsageError("name a --stage or a --stack, not both")
    name = stack or (f"clickstream-{stage}" if stage else "")
    if not re.fullmatch(STACK_FORM, name):
        raise click.UsageError("name a --stage or a --stack; a stack has 3 to 28 of a-z, 0-9 and -, a letter first")
    return name


def code_bucket(stack: str, account: Account) -> str:
    """The bucket of what is deployed: it is there before the stack, and after it."""
    return f"{stack}-code-{account.number}-{account.region}"


def find_account() -> Account:
    """The account whose credentials are in force.

    Raises:
        NoAccountError
        SupervisorError: AWS_PROFILE names no profile.
    """
    try:
        region = client("cloudformation").meta.region_name
        return Account(client("sts", attempts=2).get_caller_identity()["Account"], region)
    except ProfileNotFound as error:  # all tools of AWS fail on it, and those that need no account too
        raise SupervisorError(told(error)) from error
    except (ClientError, BotoCoreError) as error:
        raise NoAccountError(told(error)) from error


def find_stack(name: str) -> dict[str, Any] | None:
    """What CloudFormation says of a stack; None where there is none of this name."""
    try:
        found: dict[str, Any] = client("cloudformation").describe_stacks(StackName=name)["Stacks"][0]
    except ClientError as error:
        if error.response["Error"]["Code"] == "ValidationError":
            return None
        raise
    return found


def find_gone_stacks(name: str) -> list[str]:
    """The ARNs of all stacks of this name that were removed within ninety days; a dry run leaves empty ones, too."""
    pages = client("cloudformation").get_paginator("list_stacks").paginate(StackStatusFilter=["DELETE_COMPLETE"])
    return [each["StackId"] for page in pages for each in page["StackSummaries"] if each["StackName"] == name]


def resources(stack: str) -> Iterator[Resource]:
    """Every resource that a stack and those nested in it have made and not removed.

    Of a stack that is gone, known by its ARN, those that were kept.
    """
    pages = client("cloudformation").get_paginator("list_stack_resources").paginate(StackName=stack)
    for summary in (summary for page in pages for summary in page["StackResourceSummaries"]):
        physical, kind = summary.get("PhysicalResourceId"), summary["ResourceType"]
        if physical and kind == NESTED:
            yield from resources(physical)
        elif physical and summary["ResourceStatus"] != "DELETE_COMPLETE":
            yield Resource(kind, physical)


def first_failure(stack: str) -> str | None:
    """The resource that failed first in the last change of a stack, in the nested stack where it did, and why."""
    failed = None
    pages = client("cloudformation").get_paginator("describe_stack_events").paginate(StackName=stack)
    for event in (event for page in pages for event in page["StackEvents"]):  # the newest comes first
        reason = event.get("ResourceStatusReason", "")
        if event["ResourceStatus"].endswith("_FAILED") and _CANCELLED not in reason:
            failed = event
        elif _begins_a_change(event):
            break
    if failed is None:
        return None
    resource, nested = failed["LogicalResourceId"], failed.get("PhysicalResourceId")
    is_nested = failed["ResourceType"] == NESTED and nested != failed["StackId"]
    if is_nested and nested and (within := first_failure(nested)):
        return f"{resource}: {within}"
    return f"{resource} ({failed['ResourceType']}): {failed.get('ResourceStatusReason', 'no reason given')}"


def run_sam(*arguments: str | Path, say: Callable[[str], None], quiet: bool = False) -> int:
    """Run `sam`, or another program of its environment, on this terminal; its exit status. Errors are never quiet."""
    program, *rest = arguments
    command = [ensure_environment("sam", say) / "bin" / program, *rest]
    output = subprocess.DEVNULL if quiet else None
    return subprocess.run(command, env=os.environ | {"SAM_CLI_TELEMETRY": "0"}, stdout=output, check=False).returncode


def _begins_a_change(event: dict[str, Any]) -> bool:
    is_root = event.get("PhysicalResourceId") == event["StackId"]
    return is_root and event["ResourceStatus"] in ("CREATE_IN_PROGRESS", "UPDATE_IN_PROGRESS", "DELETE_IN_PROGRESS")
