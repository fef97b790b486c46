"""A lint of the templates' permissions: no wildcard but where AWS has nothing narrower, each with its reason."""

from collections.abc import Iterator, Mapping
from typing import Any

from tests.infra.templates import text_of

# Actions that know no resources: they are allowed for all, or not at all.
WITHOUT_RESOURCES = {
    "athena:ListDataCatalogs": "lists; QuickSight asks it before it asks for the one",
    "cloudwatch:GetMetricData": "metrics are no resources",
    "cloudwatch:PutMetricData": "metrics are no resources; a condition keeps it to a namespace",
    "ec2:DescribeNetworkInterfaces": "lists; Lambda asks it for the interfaces of a function in a VPC",
    "ec2:DescribeSubnets": "lists; as above",
    "kinesis:UpdateShardCount": "knows no resources, though it names a stream",
    "redshift-data:CancelStatement": "statements are no resources; the service keeps to the caller's own",
    "redshift-data:DescribeStatement": "as above",
    "redshift-data:GetStatementResult": "as above",
    "redshift-serverless:CreateUsageLimit": "usage limits are no resources",
    "redshift-serverless:DeleteUsageLimit": "as above",
    "redshift-serverless:ListUsageLimits": "as above",
    "redshift-serverless:UpdateUsageLimit": "as above",
    "ssmmessages:CreateControlChannel": "channels of Systems Manager's sessions are no resources",
    "ssmmessages:CreateDataChannel": "as above",
    "ssmmessages:OpenControlChannel": "as above",
    "ssmmessages:OpenDataChannel": "as above",
}
# Ends of resources that have a wildcard behind something that is not named after the stack, and why.
WIDE_RESOURCES = {
    ":ec2:${AWS::Region}:${AWS::AccountId}:*/*": "Lambda asks for all of them before it makes an interface",
    ":instance/*": "the host's identity is not known before it has this permission",
    ":log-group:/aws-glue/crawlers:*": "Glue logs all crawlers of an account there",
    ":log-group:/aws-glue/jobs/error:*": "Glue logs all jobs of an account there",
    ":log-group:/aws-glue/jobs/output:*": "Glue logs all jobs of an account there",
    "s3:::${ArtifactBucket}/*": "a job is told only as it starts what it imports",
}
# Where a whole bucket may be read; nobody may write to all of one.
READ_WHOLE = {"s3:::${LakeBucket}/*": "Dagster reads every table"}
# Policies of AWS's own, and why.
AWS_POLICIES = {
    "service-role/AmazonAPIGatewayPushToCloudWatchLogs": "API Gateway takes no role with less for an account's logs",
}
# What is named after the stack, or is the stack's own.
OWN = (
    "${StackName}",
    "${LakeBucket}/",
    "${SpillBucket}/",
    "${Bucket.Arn}/",
    "${Database}/",
    "${AWS::StackName}",
    "Arn}",
)
ACCOUNT_BOUND = {"kms:CallerAccount", "aws:SourceAccount", "aws:PrincipalAccount"}

Statement = Mapping[str, Any]


def faults(template: Mapping[str, Any]) -> list[str]:
    """What is wrong with a template's permissions, each with the resource that has it."""
    told = []
    for logical, resource in template["Resources"].items():
        is_key = resource["Type"] == "AWS::KMS::Key"
        told += [f"{logical}: {fault}" for fault in _of_resource(resource)]
        for statement in statements(resource):
            told += [f"{logical}: {fault}" for fault in _of_statement(statement, is_key=is_key)]
    return told


def statements(value: Any) -> Iterator[Statement]:
    """Every statement of every policy, however deep."""
    match value:
        case {"Statement": inner}:
            # The firewall's rules have statements, too, of another kind.
            yield from (each for each in _listed(inner) if "Effect" in each)
        case dict():
            for each in value.values():
                yield from statements(each)
        case list():
            for each in value:
                yield from statements(each)


def actions(statement: Statement) -> list[str]:
    """The actions of a statement."""
    return _listed(statement.get("Action", []))


def _of_resource(resource: Mapping[str, Any]) -> Iterator[str]:
    properties = resource.get("Properties", {})
    if resource["Type"] == "AWS::Serverless::Function":
        if "Policies" in properties:
            yield "policies of SAM's are wider than what they are for"
        if "Role" not in properties:
            yield "a function has a role of its own"
    for arn in _listed(properties.get("ManagedPolicyArns", [])):
        if ":iam::aws:policy" in text_of(arn) and not text_of(arn).endswith(tuple(AWS_POLICIES)):
            yield f"{text_of(arn)} is AWS's, and wider than what it is for"


def _of_statement(statement: Statement, *, is_key: bool) -> Iterator[str]:
    if statement["Effect"] != "Allow":
        return
    for word in ("NotAction", "NotResource", "NotPrincipal"):
        if word in statement:
            yield f"{word} allows all else"
    administers = is_key and actions(statement) == ["kms:*"] and _principals(statement) == [_ACCOUNT]
    if not administers:
        yield from (f"{action} is a wildcard" for action in actions(statement) if "*" in action)
    if "*" in _principals(statement) and not ACCOUNT_BOUND & _conditions(statement):
        yield "anybody may"
    if not is_key:  # a key's policy says "*" of the key itself
        for resource in _listed(statement.get("Resource", [])):
            yield from _of_target(text_of(resource), actions(statement))


_ACCOUNT = "arn:${AWS::Partition}:iam::${AWS::AccountId}:root"


def _of_target(resource: str, allowed: list[str]) -> Iterator[str]:
    if resource == "*":
        yield from (f"{action} of everything" for action in allowed if action not in WITHOUT_RESOURCES)
        return
    before, wildcard, _ = resource.partition("*")
    if not wildcard or resource.endswith(tuple(WIDE_RESOURCES)):
        return
    if resource.endswith(tuple(READ_WHOLE)) and allowed == ["s3:GetObject"]:
        return
    if before.endswith(("${LakeBucket}/", "${Bucket.Arn}/")):
        yield f"{resource} is all of the lake"
    elif not any(own in before for own in OWN):
        yield f"{resource} is more than the stack's own"


def _principals(statement: Statement) -> list[str]:
    match statement.get("Principal"):
        case dict() as kinds:
            return [text_of(each) for value in kinds.values() for each in _listed(value)]
        case None:
            return []
        case principal:
            return [text_of(principal)]


def _conditions(statement: Statement) -> set[str]:
    return {key for operator in statement.get("Condition", {}).values() for key in operator}


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
