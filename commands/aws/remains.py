"""What outlives a stack, and how each is removed: what its templates keep, and what came into being beside them."""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from botocore.exceptions import ClientError

from commands.aws.stacks import Resource
from streaming.edges.aws import client

BUCKET = "AWS::S3::Bucket"
KEY = "AWS::KMS::Key"


class Remnant(NamedTuple):
    """Something that is still there, and the command that removes it."""

    what: str
    removal: str


# Resources that the templates keep when the stack goes, by kind.
RETAINED = {
    KEY: Remnant(
        "key {}, which costs, and without which nothing that is kept can be read",
        "aws kms schedule-key-deletion --key-id {}",
    ),
    "AWS::ApiGateway::Account": Remnant(
        "API Gateway's role for access logs, which all APIs of the region share",
        "aws apigateway update-account --patch-operations op=replace,path=/cloudwatchRoleArn,value=",
    ),
    "AWS::IAM::Role": Remnant(
        "role {} of that setting",
        "aws iam detach-role-policy --role-name {0} --policy-arn arn:aws:iam::aws:policy/service-role/"
        "AmazonAPIGatewayPushToCloudWatchLogs; aws iam delete-role --role-name {0}",
    ),
}


def remnants(stack: str, kept: Iterable[Resource], buckets: Iterable[str]) -> Iterator[Remnant]:
    """What remains of a stack that is gone.

    Args:
        kept: resources that went out of CloudFormation's hands with it.
        buckets: those of its buckets that may be there.
    """
    for bucket in filter(exists, buckets):
        yield Remnant(f"bucket {bucket}", f"./run destroy --stack {stack} --delete-data")
    for resource in kept:
        if resource.kind in RETAINED and not (resource.kind == KEY and _is_going(resource.name)):
            yield Remnant(*(text.format(resource.name) for text in RETAINED[resource.kind]))
    for beside in (*SNAPSHOTS.values(), _volumes, _layers, _connectors_logs):
        yield from beside(stack)


def exists(bucket: str) -> bool:
    """Whether a bucket is there and may be looked at."""
    try:
        client("s3").head_bucket(Bucket=bucket)
    except ClientError:
        return False
    return True


def _is_going(key: str) -> bool:
    """Whether a key is gone, or will be on a day that is set."""
    kms = client("kms")
    try:
        return bool(kms.describe_key(KeyId=key)["KeyMetadata"]["KeyState"] == "PendingDeletion")
    except kms.exceptions.NotFoundException:
        return True


def _cluster_snapshots(stack: str) -> Iterator[Remnant]:
    """RDS finds snapshots by a cluster that is there only, so all are looked through."""
    pages = client("rds").get_paginator("describe_db_cluster_snapshots").paginate(SnapshotType="manual")
    for each in (each for page in pages for each in page["DBClusterSnapshots"]):
        if each["DBClusterIdentifier"] == stack:
            name = each["DBClusterSnapshotIdentifier"]
            removal = f"aws rds delete-db-cluster-snapshot --db-cluster-snapshot-identifier {name}"
            yield Remnant(f"snapshot {name} of the customers' database", removal)


def _redis_snapshots(stack: str) -> Iterator[Remnant]:
    pages = client("elasticache").get_paginator("describe_snapshots").paginate(SnapshotSource="manual")
    for each in (each for page in pages for each in page["Snapshots"]):
        if each.get("ReplicationGroupId") == stack:
            name = each["SnapshotName"]
            yield Remnant(f"snapshot {name} of Redis", f"aws elasticache delete-snapshot --snapshot-name {name}")


# Kinds of which a last snapshot is taken. They are named after the stack.
SNAPSHOTS: dict[str, Callable[[str], Iterator[Remnant]]] = {
    "AWS::RDS::DBCluster": _cluster_snapshots,
    "AWS::ElastiCache::ReplicationGroup": _redis_snapshots,
}


def _volumes(stack: str) -> Iterator[Remnant]:
    tagged = [{"Name": "tag:clickstream", "Values": [stack]}]
    pages = client("ec2").get_paginator("describe_volumes").paginate(Filters=tagged)
    for volume in (each["VolumeId"] for page in pages for each in page["Volumes"]):
        yield Remnant(f"volume {volume}, with Dagster's history", f"aws ec2 delete-volume --volume-id {volume}")


def _layers(stack: str) -> Iterator[Remnant]:
    layer = f"{stack}-geoip"
    pages = client("lambda").get_paginator("list_layer_versions").paginate(LayerName=layer)
    for version in (each["Version"] for page in pages for each in page["LayerVersions"]):
        removal = f"aws lambda delete-layer-version --layer-name {layer} --version-number {version}"
        yield Remnant(f"layer {layer}, version {version}", removal)


def _connectors_logs(stack: str) -> Iterator[Remnant]:
    """Athena's connectors are functions of others' templates, and Lambda makes the groups that these lack."""
    for group in (f"/aws/lambda/{stack}-redis", f"/aws/lambda/{stack}-mysql"):
        found = client("logs").describe_log_groups(logGroupNamePrefix=group)["logGroups"]
        if group in (each["logGroupName"] for each in found):
            yield Remnant(f"logs {group}", f"aws logs delete-log-group --log-group-name {group}")
