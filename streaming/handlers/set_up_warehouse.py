"""Lambda `set_up_warehouse`: what CloudFormation has no resource for in Redshift Serverless, as a custom resource.

How many RPU-hours a month it may take before it answers no more; and the schema that shows the lake, to whoever may
connect, which IAM decides. Safe to repeat. Deleting it takes the limit away. Where the limit alone has changed, nothing
is asked of the warehouse: it may have used the old one up, and answers no more.
"""

import time
from collections.abc import Mapping
from typing import Any

from streaming.domain.stack import REDSHIFT_DATABASE, REDSHIFT_SCHEMA
from streaming.edges.aws import client
from streaming.edges.custom_resource import answering
from streaming.settings import ROOT

__all__ = ["lambda_handler"]

_COMPUTE = "serverless-compute"
_GRANT = f"GRANT USAGE ON SCHEMA {REDSHIFT_SCHEMA} TO PUBLIC"
_SHOWN_BY = ("Database", "Workgroup", "WorkgroupArn", "AdminSecret")
_POLL_SECONDS = 2.0


def lambda_handler(event: Mapping[str, Any], context: object) -> None:
    """Bring the workgroup to what the stack says, and tell CloudFormation what came of it."""
    with answering(event):
        redshift, wanted = client("redshift-serverless"), event["ResourceProperties"]
        if event["RequestType"] == "Delete":
            _unlimit(redshift, wanted["WorkgroupArn"])
        else:
            _limit(redshift, wanted["WorkgroupArn"], int(wanted["RpuHours"]))
            known = event.get("OldResourceProperties", {})
            if any(known.get(name) != wanted[name] for name in _SHOWN_BY):
                for statement in (_schema(wanted["Database"]), _GRANT):
                    _run_as_administrator(statement, wanted["Workgroup"], wanted["AdminSecret"])


def _schema(catalog_database: str) -> str:
    """The statement that shows a database of the Glue Data Catalog in Redshift; made once, it changes nothing."""
    statement = (ROOT / "sql" / "spectrum" / "create_external_schema.sql").read_text()
    return statement.replace("'clickstream'", f"'{catalog_database}'")


def _limit(redshift: Any, workgroup_arn: str, rpu_hours: int) -> None:
    known = _limits(redshift, workgroup_arn)
    if known:
        redshift.update_usage_limit(usageLimitId=known[0], amount=rpu_hours, breachAction="deactivate")
    else:
        redshift.create_usage_limit(
            resourceArn=workgroup_arn, usageType=_COMPUTE, amount=rpu_hours, period="monthly", breachAction="deactivate"
        )


def _unlimit(redshift: Any, workgroup_arn: str) -> None:
    for known in _limits(redshift, workgroup_arn):
        redshift.delete_usage_limit(usageLimitId=known)


def _limits(redshift: Any, workgroup_arn: str) -> list[str]:
    answer = redshift.list_usage_limits(resourceArn=workgroup_arn, usageType=_COMPUTE)
    return [each["usageLimitId"] for each in answer.get("usageLimits", ())]


def _run_as_administrator(statement: str, workgroup: str, secret_arn: str) -> None:
    """Run a statement to its end; Lambda's time is its limit."""
    data = client("redshift-data")
    submitted = data.execute_statement(
        WorkgroupName=workgroup, Database=REDSHIFT_DATABASE, SecretArn=secret_arn, Sql=statement
    )
    while (told := data.describe_statement(Id=submitted["Id"]))["Status"] not in ("FINISHED", "FAILED", "ABORTED"):
        time.sleep(_POLL_SECONDS)
    if told["Status"] != "FINISHED":
        raise RuntimeError(f"{statement}: {told.get('Error') or told['Status'].lower()}")
