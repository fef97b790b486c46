"""Lambda `limit_warehouse`: how many RPU-hours a month Redshift Serverless may take before it answers no more.

A custom resource, for CloudFormation has none of its own for that. Deleting it takes the limit away.
"""

from collections.abc import Mapping
from typing import Any

from streaming.edges.aws import client
from streaming.edges.custom_resource import answering

__all__ = ["lambda_handler", "limit", "unlimit"]

_COMPUTE = "serverless-compute"


def lambda_handler(event: Mapping[str, Any], context: object) -> None:
    """Bring the workgroup's limit to what the stack says, and tell CloudFormation what came of it."""
    with answering(event):
        redshift, wanted = client("redshift-serverless"), event["ResourceProperties"]
        if event["RequestType"] == "Delete":
            unlimit(redshift, wanted["WorkgroupArn"])
        else:
            limit(redshift, wanted["WorkgroupArn"], int(wanted["RpuHours"]))


def limit(redshift: Any, workgroup_arn: str, rpu_hours: int) -> None:
    """Limit a month's compute, whatever limit there is."""
    known = _limits(redshift, workgroup_arn)
    if known:
        redshift.update_usage_limit(usageLimitId=known[0], amount=rpu_hours, breachAction="deactivate")
    else:
        redshift.create_usage_limit(
            resourceArn=workgroup_arn, usageType=_COMPUTE, amount=rpu_hours, period="monthly", breachAction="deactivate"
        )


def unlimit(redshift: Any, workgroup_arn: str) -> None:
    """Take the limits of compute away."""
    for known in _limits(redshift, workgroup_arn):
        redshift.delete_usage_limit(usageLimitId=known)


def _limits(redshift: Any, workgroup_arn: str) -> list[str]:
    answer = redshift.list_usage_limits(resourceArn=workgroup_arn, usageType=_COMPUTE)
    return [each["usageLimitId"] for each in answer.get("usageLimits", ())]
