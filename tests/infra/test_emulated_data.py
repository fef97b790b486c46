"""The data half of the template on the emulator, as far as that knows its resources: made, and with what is given."""

import json
from collections.abc import Collection
from ipaddress import ip_network
from typing import Any

import pytest

from clickstream_assets.catalog import CATALOGUED
from resources.aws.glue.tables import table_input
from tests.infra.emulator import Clients, Deployed, deploy
from tests.infra.templates import INFRA, parse

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

STACK, CODE = "shop-dev", "code"
UNKNOWN = {  # to the emulator
    "AWS::Budgets::Budget",
    "AWS::EC2::EIP",
    "AWS::EC2::Instance",
    "AWS::EC2::NatGateway",
    "AWS::Glue::Classifier",
    "AWS::IAM::RolePolicy",
}
LAKE = {
    "RawArchiveDays": "90", "VersionDays": "7", "JobWorkers": "2", "LogRetentionDays": "30", "IpinfoTokenSecret": "",
}  # fmt: skip
STORES = {
    "SubnetIds": "subnet-1,subnet-2", "FunctionSecurityGroup": "sg-1", "StoreSecurityGroup": "sg-2", "KeyArn": "key",
    "RedisNodeType": "cache.t4g.small", "RedisNodes": "1", "AuroraMinCapacity": "0.5", "AuroraMaxCapacity": "4",
    "AuroraDeletionProtection": "true", "DemoCustomers": "false", "SourceKey": "source.zip", "LogRetentionDays": "30",
}  # fmt: skip


def deployed(session: Clients, name: str, file: str, parameters: dict[str, str]) -> Deployed:
    """Deploy a template of infra/ without what the emulator does not know."""
    template = parse((INFRA / file).read_text())
    unknown = {key for key, each in template["Resources"].items() if each["Type"] in UNKNOWN}
    template["Resources"] = {key: each for key, each in template["Resources"].items() if key not in unknown}
    outputs = template.get("Outputs", {})
    template["Outputs"] = {key: each for key, each in outputs.items() if not _names(each, unknown)}
    text = json.dumps(template)
    for nested in INFRA.glob("*.json"):
        session("s3").upload_file(str(nested), CODE, nested.name)
        address = f"{session('s3').meta.endpoint_url}/{CODE}/{nested.name}"
        text = text.replace(f'"TemplateURL": "{nested.name}"', f'"TemplateURL": "{address}"')
    text = text.replace("../streaming/jobs/", f"s3://{CODE}/").replace("../.build/", f"s3://{CODE}/")
    return deploy(session, name, text, {"StackName": STACK, **parameters})


@pytest.fixture(scope="module", autouse=True)
def code(session: Clients) -> None:
    """The bucket of what ./run deploy uploads."""
    session("s3").create_bucket(Bucket=CODE)


def test_the_network_is_closed_and_spread_over_zones(session: Clients) -> None:
    made = deployed(session, "network", "network.yaml", {"NatGateway": "false", "Connectors": "true"})
    ec2 = session("ec2")
    subnets = ec2.describe_subnets(SubnetIds=made.outputs["SubnetIds"].split(","))["Subnets"]
    assert len({each["AvailabilityZone"] for each in subnets}) == 3
    networks = [ip_network(each["CidrBlock"]) for each in subnets]
    assert not any(one.overlaps(other) for one in networks for other in networks if one != other)
    (private,) = ec2.describe_route_tables(
        Filters=[{"Name": "association.subnet-id", "Values": [subnets[0]["SubnetId"]]}]
    )["RouteTables"]
    assert all(route.get("DestinationCidrBlock") != "0.0.0.0/0" for route in private["Routes"])
    endpoints = {name for kind, name in made.resources if kind == "AWS::EC2::VPCEndpoint"}
    assert len(endpoints) == 5
    (stores,) = ec2.describe_security_groups(GroupIds=[made.outputs["StoreSecurityGroup"]])["SecurityGroups"]
    rules = stores["IpPermissions"]
    assert {rule["FromPort"] for rule in rules} == {6379, 3306}
    sources = {pair["GroupId"] for rule in rules for pair in rule["UserIdGroupPairs"]}
    assert sources == {made.outputs["FunctionSecurityGroup"]}
    assert not any(rule.get("IpRanges") for rule in rules)


def test_a_given_network_gets_groups_alone(session: Clients) -> None:
    vpc = session("ec2").create_vpc(CidrBlock="10.1.0.0/16")["Vpc"]["VpcId"]
    subnets = "subnet-1,subnet-2,subnet-3"
    made = deployed(session, "given", "network.yaml", {"VpcId": vpc, "SubnetIds": subnets, "NatGateway": "true"})
    assert made.outputs["SubnetIds"] == subnets
    assert {kind for kind, _ in made.resources} == {"AWS::EC2::SecurityGroup"}


def test_a_given_group_is_let_in(session: Clients) -> None:
    ec2 = session("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.2.0.0/16")["Vpc"]["VpcId"]
    group = ec2.create_security_group(GroupName="ours", Description="Ours.", VpcId=vpc)["GroupId"]
    given = {"VpcId": vpc, "SubnetIds": "subnet-1,subnet-2,subnet-3", "SecurityGroup": group}
    made = deployed(session, "grouped", "network.yaml", given)
    assert made.outputs["FunctionSecurityGroup"] == group
    assert made.resources == {("AWS::EC2::SecurityGroup", made.outputs["StoreSecurityGroup"])}
    (stores,) = ec2.describe_security_groups(GroupIds=[made.outputs["StoreSecurityGroup"]])["SecurityGroups"]
    sources = {pair["GroupId"] for rule in stores["IpPermissions"] for pair in rule["UserIdGroupPairs"]}
    assert sources == {group}


def test_the_lake_has_its_bucket_and_every_table_with_partitions(session: Clients) -> None:
    made = deployed(session, "lake", "lake.yaml", {**LAKE, "ArtifactBucket": CODE, "JobsKey": "jobs.zip"})
    bucket, database = made.outputs["Bucket"], made.outputs["Database"]
    assert database == "shop_dev"
    s3, glue = session("s3"), session("glue")
    assert set(s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"].values()) == {True}
    assert s3.get_bucket_versioning(Bucket=bucket)["Status"] == "Enabled"
    tables = {each["Name"]: each for each in glue.get_tables(DatabaseName=database)["TableList"]}
    assert tables.keys() == {table.name for table in CATALOGUED if table.partition}
    for table in (table for table in CATALOGUED if table.partition):
        declared = table_input(table, f"s3://{bucket}")
        assert {key: tables[table.name][key] for key in declared} == declared
    assert glue.get_job(JobName=f"{STACK}-flatten")["Job"]["Command"]["Name"] == "glueetl"
    assert glue.get_crawler(Name=f"{STACK}-raw")["Crawler"]["DatabaseName"] == database


def test_given_stores_are_passed_on(session: Clients) -> None:
    given = {"RedisSecret": "arn:aws:secretsmanager:redis", "MysqlSecret": "arn:aws:secretsmanager:mysql"}
    made = deployed(session, "stores", "stores.yaml", STORES | given)
    assert made.resources == set()
    assert made.outputs == {**given, "RedisEndpoint": "", "MysqlConnection": ""}


def test_policies_are_ones_that_iam_takes(session: Clients) -> None:
    parameters = {
        "AlarmTopic": "arn:aws:sns:us-east-1:123456789012:alarms", "AlarmEmail": "", "MonthlyBudget": "0",
        "LakeBucket": "lake", "Database": "shop_dev", "StartDay": "2025-01-01", "TrustPayloadIp": "false",
        "Engines": "", "MakesRedis": "false", "IpinfoTokenSecret": "", "IngestionUrl": "https://localhost",
        "RedisSecret": "arn:aws:secretsmanager:us-east-1:123456789012:secret:redis",
        "MysqlSecret": "arn:aws:secretsmanager:us-east-1:123456789012:secret:mysql",
        "WorkgroupArn": "arn:aws:redshift-serverless:us-east-1:123456789012:workgroup/1", "DagsterHost": "true",
        "DagsterInstanceType": "t3.large", "DagsterVolumeGigabytes": "50", "Subnet": "subnet-1",
        "SecurityGroup": "sg-1", "ArtifactBucket": CODE, "SourceKey": "source.zip", "SpillBucket": "shop-dev-spill",
        "AlertWebhookSecret": "",
    }  # fmt: skip
    made = deployed(session, "operations", "operations.yaml", parameters)
    iam = session("iam")
    for arn in made.outputs["DagsterPolicies"].split(","):
        document = iam.get_policy_version(PolicyArn=arn, VersionId="v1")["PolicyVersion"]["Document"]
        text = document if isinstance(document, str) else json.dumps(document)
        assert "shop-dev" in text or "arn:aws:s3:::lake/enriched/*" in text
        assert "${" not in text


def _names(value: Any, names: Collection[str]) -> bool:
    text = json.dumps(value)
    return any(f'"{name}"' in text or f"${{{name}}}" in text for name in names)
