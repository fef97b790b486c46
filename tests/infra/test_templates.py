"""The templates hold together, keep to CloudFormation's limits, and name what the code asks for."""

import json
import re
import subprocess
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import pytest

from clickstream_assets.catalog import CATALOGUED
from commands.environments import ensure_environment
from commands.package import lambda_roles
from resources.aws.glue.crawlers import CRAWLERS
from resources.aws.s3.landing import LONGEST_LAG
from streaming.domain.stack import Stack
from streaming.domain.tables import ENRICHED_LANDING, HIGH_INTENT_VIEWS, RAW_EVENTS
from streaming.settings import ROOT
from tests.infra.templates import INFRA, NESTED, ROOT_TEMPLATE, files, found, load, names, resources, text_of

STACK = Stack("shop-dev")
NAMES = {
    "AWS::Athena::DataCatalog": "Name",
    "AWS::Athena::WorkGroup": "Name",
    "AWS::Glue::Classifier": "JsonClassifier",
    "AWS::Glue::Crawler": "Name",
    "AWS::Glue::Job": "Name",
    "AWS::Kinesis::Stream": "Name",
    "AWS::KinesisFirehose::DeliveryStream": "DeliveryStreamName",
    "AWS::RedshiftServerless::Namespace": "NamespaceName",
    "AWS::RedshiftServerless::Workgroup": "WorkgroupName",
    "AWS::Serverless::Function": "FunctionName",
}


def named(type_: str) -> set[str]:
    """What the resources of a type are called in stack `shop-dev`."""
    called = (resource["Properties"][NAMES[type_]] for _, _, resource in resources(type_))
    texts = (text_of(each["Name"] if type_ == "AWS::Glue::Classifier" else each) for each in called)
    return {text.replace("${StackName}", STACK.name) for text in texts}


def parts(roles: Iterable[str]) -> set[str]:
    return set(map(STACK.part, roles))


# ---- how templates hold together ----


def test_every_template_is_nested_once() -> None:
    assert sorted(names()) == sorted(files())


@pytest.mark.parametrize("name", names())
def test_nested_stacks_are_given_what_they_ask_for(name: str) -> None:
    for logical, resource in load(name)["Resources"].items():
        if resource["Type"] == NESTED:
            asked = load(resource["Properties"]["TemplateURL"])["Parameters"]
            given = resource["Properties"]["Parameters"].keys()
            assert given <= asked.keys(), logical
            assert {each for each, declared in asked.items() if "Default" not in declared} <= given, logical


@pytest.mark.parametrize("name", names())
def test_outputs_that_are_used_are_there(name: str) -> None:
    template = load(name)
    nested = {key: each for key, each in template["Resources"].items() if each["Type"] == NESTED}
    for logical, attribute in found(template, "Fn::GetAtt"):
        if logical in nested:
            outputs = load(nested[logical]["Properties"]["TemplateURL"])["Outputs"]
            assert attribute.removeprefix("Outputs.") in outputs, f"{logical}.{attribute}"


def test_what_is_there_under_a_condition_is_used_under_one() -> None:
    root = load(ROOT_TEMPLATE)
    for logical, output in root["Outputs"].items():
        for nested, attribute in found(output, "Fn::GetAtt"):
            outputs = load(root["Resources"][nested]["Properties"]["TemplateURL"])["Outputs"]
            inner = outputs[attribute.removeprefix("Outputs.")]
            assert ("Condition" in inner) == ("Condition" in output), logical


@pytest.mark.parametrize("name", names())
def test_every_parameter_is_used(name: str) -> None:
    text = (INFRA / name).read_text()
    unused = [each for each in load(name)["Parameters"] if len(re.findall(rf"\b{each}\b", text)) < 2]
    assert unused == []


@pytest.mark.parametrize("name", names())
def test_templates_keep_to_the_limits(name: str) -> None:
    template = load(name)
    assert (INFRA / name).stat().st_size <= 1_000_000
    assert len(template["Resources"]) <= 500
    assert len(template.get("Parameters", {})) <= 200
    assert len(template.get("Outputs", {})) <= 200
    assert len(template["Description"].encode()) <= 1024
    longest = {"AWS::IAM::ManagedPolicy": 6144, "AWS::IAM::Role": 10_240}
    for logical, resource in template["Resources"].items():
        policies = list(found(resource, "PolicyDocument"))
        if resource["Type"] in longest:
            assert len(rendered(policies)) <= longest[resource["Type"]], logical


def rendered(value: Any) -> str:
    """About what becomes of policies, filled in with names as long as they get."""
    text = json.dumps(value, separators=(",", ":"))
    return re.sub(r'\$\{[^}]*\}|\{"(?:Ref|Fn::GetAtt)"[^}]*\}', "x" * 40, text)


def test_every_root_parameter_is_described_and_grouped() -> None:
    root = load(ROOT_TEMPLATE)
    groups = root["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"]
    grouped = [name for group in groups for name in group["Parameters"]]
    assert sorted(grouped) == sorted(root["Parameters"])
    assert all(each["Description"].endswith((".", "region.")) for each in root["Parameters"].values())


@pytest.mark.parametrize(
    ("given", "refused"),
    [
        ({}, None),
        ({"MonthlyBudget": "100"}, "A budget needs AlarmEmail, which is told of it."),
        ({"MonthlyBudget": "100", "AlarmEmail": "ada@example.com"}, None),
        ({"VpcId": "vpc-1"}, "A VPC of yours needs SubnetIds."),
        ({"SubnetIds": "subnet-1,subnet-2"}, "SubnetIds are of a VPC of yours, which VpcId names."),
        ({"VpcId": "vpc-1", "SubnetIds": "subnet-1,subnet-2", "SecurityGroup": "sg-1"}, None),
        ({"SecurityGroup": "sg-1"}, "A security group is of a VPC of yours, which VpcId names."),
        ({"IpinfoTokenSecret": "arn", "NatGateway": "false"}, "Functions get to ipinfo.io through the NAT gateway."),
        ({"IpinfoTokenSecret": "arn"}, None),
    ],
)
def test_parameters_that_do_not_go_together_are_refused(given: dict[str, str], refused: str | None) -> None:
    root = load(ROOT_TEMPLATE)
    values = {name: str(each.get("Default", "")) for name, each in root["Parameters"].items()} | given
    told = [
        assertion["AssertDescription"]
        for rule in root["Rules"].values()
        if holds(rule["RuleCondition"], values)
        for assertion in rule["Assertions"]
        if not holds(assertion["Assert"], values)
    ]
    assert told == ([refused] if refused else [])


def holds(condition: Any, values: dict[str, str]) -> bool:
    """Whether a rule's condition is true of parameters."""
    match condition:
        case {"Fn::Not": [inner]}:
            return not holds(inner, values)
        case {"Fn::And": list(inner)}:
            return all(holds(each, values) for each in inner)
        case {"Fn::Equals": [{"Ref": name}, text]}:
            return values[name] == text
    raise AssertionError(condition)


# ---- what they call things ----


def test_the_code_finds_what_it_names() -> None:
    assert named("AWS::Kinesis::Stream") == parts(["events", "high-intent"])
    assert named("AWS::KinesisFirehose::DeliveryStream") == parts(["events", "high-intent"])
    assert named("AWS::Glue::Crawler") == parts(CRAWLERS)
    assert named("AWS::Glue::Classifier") == parts(["events"])
    assert named("AWS::Athena::DataCatalog") == parts(["redis", "mysql"])
    assert {STACK.name} == named("AWS::Athena::WorkGroup") == named("AWS::RedshiftServerless::Workgroup")
    assert named("AWS::RedshiftServerless::Namespace") == {STACK.name}


def test_every_spark_job_is_a_job_of_glue() -> None:
    scripts = {path for path in (ROOT / "streaming" / "jobs").glob("*.py") if "def main(" in path.read_text()}
    assert named("AWS::Glue::Job") == parts(path.stem for path in scripts)
    located = {each["Properties"]["Command"]["ScriptLocation"] for _, _, each in resources("AWS::Glue::Job")}
    assert {(INFRA / each).resolve() for each in located} == scripts


def test_every_literal_name_stands_in_the_templates() -> None:
    folders = ("streaming", "resources", "commands", "clickstream_assets")
    code = [path.read_text() for folder in folders for path in (ROOT / folder).rglob("*.py")]
    literal = {name for text in code for name in re.findall(r'\bpart\(\s*"([^"]+)"', text)}
    assert literal
    assert parts(literal) <= {name for type_ in NAMES for name in named(type_)}


def test_every_handler_is_a_function_with_a_role_and_a_log_of_its_own() -> None:
    roles, functions, logs = lambda_roles(), set(), []
    for _, logical, function in resources("AWS::Serverless::Function"):
        properties = function["Properties"]
        role = text_of(properties["FunctionName"]).removeprefix("${StackName}-")
        functions.add(role)
        assert properties["CodeUri"] == f"../.build/{role}.zip", logical
        assert properties["Handler"] == f"{roles[role]}.lambda_handler", logical
        assert properties["Role"] == {"Fn::GetAtt": [f"{logical}Role", "Arn"]}, logical
        logs.append(text_of(properties["LoggingConfig"]["LogGroup"]))
    assert functions == roles.keys()
    assert len(set(logs)) == len(logs)


def test_the_database_of_the_lake_is_called_as_the_code_calls_it() -> None:
    ((_, _, database),) = (each for each in resources("AWS::Glue::Database") if each[1] == "Database")
    name = database["Properties"]["DatabaseInput"]["Name"]
    assert name == {"Fn::Join": ["_", {"Fn::Split": ["-", {"Ref": "StackName"}]}]}
    assert STACK.database == "_".join(STACK.name.split("-"))


def test_databases_of_glue_are_the_stacks_own() -> None:
    """A catalog of Glue is one for all stacks of an account."""
    called = [str(each["Properties"]["DatabaseInput"]["Name"]) for _, _, each in resources("AWS::Glue::Database")]
    assert called
    assert [name for name in called if "StackName" not in name and "${Database}" not in name] == []


# ---- what they are like ----


def test_logs_are_kept_for_a_time_and_encrypted() -> None:
    groups = list(resources("AWS::Logs::LogGroup"))
    assert len(groups) > 5
    for _, logical, group in groups:
        assert group["Properties"]["RetentionInDays"] == {"Ref": "LogRetentionDays"}, logical
        assert "KmsKeyId" in group["Properties"], logical


def test_the_lake_is_private_versioned_encrypted_and_outlives_its_stack() -> None:
    buckets = {logical: each for _, logical, each in resources("AWS::S3::Bucket")}
    for bucket in buckets.values():
        properties = bucket["Properties"]
        assert set(properties["PublicAccessBlockConfiguration"].values()) == {True}
        assert next(found(properties, "SSEAlgorithm")) == "aws:kms"
        assert (bucket["DeletionPolicy"], bucket["UpdateReplacePolicy"]) == ("RetainExceptOnCreate", "Retain")
    assert buckets["Bucket"]["Properties"]["VersioningConfiguration"] == {"Status": "Enabled"}
    (policy,) = (each for _, _, each in resources("AWS::S3::BucketPolicy"))
    (statement,) = policy["Properties"]["PolicyDocument"]["Statement"]
    assert (statement["Effect"], statement["Condition"]) == ("Deny", {"Bool": {"aws:SecureTransport": "false"}})


def test_a_first_creation_that_fails_leaves_nothing_that_the_next_pays_for() -> None:
    """But what an account has one of: API Gateway's role for logs, which other APIs write with from then on."""
    kept = {logical for _, logical, each in resources() if each.get("DeletionPolicy") == "Retain"}
    assert kept == {"Account", "AccessLogsRole"}
    keys = [each for _, _, each in resources("AWS::KMS::Key")]
    assert [(each["DeletionPolicy"], each["UpdateReplacePolicy"]) for each in keys] == [
        ("RetainExceptOnCreate", "Retain")
    ]


def test_another_address_makes_another_budget_while_the_old_one_is_there() -> None:
    """What is told of a budget cannot be changed: CloudFormation makes a new one first, and names are an account's."""
    ((_, _, budget),) = resources("AWS::Budgets::Budget")
    assert "NotificationsWithSubscribers" in budget["Properties"]
    assert "BudgetName" not in budget["Properties"]["Budget"]


def test_streams_keep_records_no_longer_than_files_are_looked_for() -> None:
    """A Firehose that is behind lands what it finds at the stream's end in today's folder, hours late."""
    retention = load(ROOT_TEMPLATE)["Parameters"]["StreamRetentionHours"]
    assert timedelta(hours=retention["MaxValue"]) <= LONGEST_LAG


def test_a_host_that_stands_still_is_told_of() -> None:
    alarms = {logical: each for _, logical, each in resources("AWS::CloudWatch::Alarm")}
    properties = alarms["HostFailsAlarm"]["Properties"]
    assert alarms["HostFailsAlarm"]["Condition"] == "HasHost"
    assert (properties["Namespace"], properties["MetricName"]) == ("AWS/EC2", "StatusCheckFailed")
    assert properties["Dimensions"] == [{"Name": "InstanceId", "Value": {"Ref": "Host"}}]
    assert properties["TreatMissingData"] == "breaching"
    assert properties["AlarmActions"] == [{"Ref": "AlarmTopic"}]


def test_stores_take_tls_alone_and_forget_nothing() -> None:
    store = {logical: each["Properties"] for name, logical, each in resources() if name == "stores.yaml"}
    assert store["Redis"]["TransitEncryptionMode"] == "required"
    assert store["RedisParameters"]["Properties"] == {"maxmemory-policy": "noeviction"}
    assert store["MysqlParameters"]["Parameters"]["require_secure_transport"] == "ON"
    for kind in ("AWS::ElastiCache::ReplicationGroup", "AWS::RDS::DBCluster"):
        ((_, _, resource),) = resources(kind)
        assert resource["DeletionPolicy"] == resource["UpdateReplacePolicy"] == "Snapshot"


def test_connectors_may_change_nothing_of_the_lake() -> None:
    """They come with permissions of their own: to write and delete all of the bucket that they are given."""
    connectors = [each["Properties"]["Parameters"] for _, _, each in resources("AWS::Serverless::Application")]
    assert [each["SpillBucket"] for each in connectors] == [{"Ref": "Spill"}] * 2


def test_connectors_find_their_secrets_by_name() -> None:
    outputs = {key: text_of(each["Value"]) for key, each in load("stores.yaml")["Outputs"].items()}
    secrets = {text_of(each["Properties"]["Name"]) for _, _, each in resources("AWS::SecretsManager::Secret")}
    for name, secret in {"RedisEndpoint": "${StackName}-redis-token", "MysqlConnection": "${StackName}-mysql"}.items():
        assert secret in secrets
        assert outputs[name].endswith(f"${{{secret}}}|")  # or nothing, for a given store


def test_a_new_image_does_not_replace_the_host() -> None:
    ((_, _, template),) = resources("AWS::EC2::LaunchTemplate")
    assert template["Properties"]["LaunchTemplateData"]["ImageId"].startswith("resolve:ssm:/aws/service/")
    assert not any(each["Type"].startswith("AWS::SSM") for each in load(ROOT_TEMPLATE)["Parameters"].values())


def test_no_port_is_open_to_the_world() -> None:
    groups = list(resources("AWS::EC2::SecurityGroup"))
    assert groups
    for _, logical, group in groups:
        for rule in group["Properties"].get("SecurityGroupIngress", []):
            assert text_of(rule.get("CidrIp", "")) in ("", "${VpcCidr}"), logical


def test_dagster_may_write_the_tables_that_it_writes() -> None:
    ((_, _, policy),) = (each for each in resources("AWS::IAM::ManagedPolicy") if each[1] == "LakePolicy")
    statements = policy["Properties"]["PolicyDocument"]["Statement"]
    writing = [each for each in statements if "s3:DeleteObject" in each["Action"]]
    allowed = {text_of(each).rpartition(":")[2] for each in writing[0]["Resource"]}
    delivered = (RAW_EVENTS, ENRICHED_LANDING, HIGH_INTENT_VIEWS)
    written = {table.prefix.partition("/")[0] for table in CATALOGUED if table not in delivered}
    assert {f"${{LakeBucket}}/{prefix}/*" for prefix in written} <= allowed
    assert not {f"${{LakeBucket}}/{table.prefix}/*" for table in delivered} & allowed


def test_the_dashboard_is_of_metrics() -> None:
    ((_, _, dashboard),) = resources("AWS::CloudWatch::Dashboard")
    widgets = json.loads(dashboard["Properties"]["DashboardBody"]["Fn::Sub"])["widgets"]
    cells = {(each["x"], each["y"]) for each in widgets}
    assert len(cells) == len(widgets) > 5
    assert all(each["properties"]["metrics"][0][0].startswith("AWS/") for each in widgets)


def test_the_host_runs_the_platform_with_settings_that_there_are() -> None:
    ((_, _, host),) = resources("AWS::EC2::Instance")
    script = text_of(host["Properties"]["UserData"]["Fn::Base64"]).partition("#!/bin/bash")[2].rpartition("--part--")[0]
    checked = subprocess.run(["bash", "-n"], input=script, text=True, capture_output=True, check=False)
    assert (checked.returncode, checked.stderr) == (0, "")
    documented = (ROOT / "docs" / "settings.md").read_text()
    settings = set(re.findall(r"^([A-Z_]+)=", script, re.MULTILINE)) - {"AWS_REGION"}
    assert {"CLICKSTREAM_DEPLOYMENT", "CLICKSTREAM_STACK", "CLICKSTREAM_LAKE_BUCKET"} <= settings
    assert all(f"`{name}`" in documented for name in settings)


def test_functions_have_settings_that_there_are() -> None:
    documented = (ROOT / "docs" / "settings.md").read_text()
    variables = {
        name
        for template in names()
        for environment in found(load(template), "Environment")
        for name in environment.get("Variables", {})
    }
    assert len(variables) > 5
    assert all(f"`{name}`" in documented for name in variables)


# ---- what others have to say ----


@pytest.mark.slow
@pytest.mark.timeout(300)  # the first time the environment is installed
def test_linters_have_nothing_to_say() -> None:
    programs = ensure_environment("sam", print) / "bin"
    linted = run(programs / "cfn-lint", *(INFRA / name for name in names()))
    assert linted == (0, "")
    status, said = run(programs / "sam", "validate", "--lint", "--template-file", INFRA / ROOT_TEMPLATE)
    assert status == 0, said


def run(*command: Any) -> tuple[int, str]:
    environment = {"PATH": "/usr/bin:/bin", "HOME": "/tmp", "AWS_DEFAULT_REGION": "us-east-1", "SAM_CLI_TELEMETRY": "0"}
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr
