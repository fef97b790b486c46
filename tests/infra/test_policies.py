"""Nobody may more than they need: the templates' permissions, and the lint that looks at them."""

import json
from typing import Any

import pytest

from commands.environments import ensure_environment
from tests.infra import templates
from tests.infra.policies import WIDE_RESOURCES, WITHOUT_RESOURCES, actions, faults, statements

ANYBODY = {"Effect": "Allow", "Principal": "*"}
BUCKET = "arn:${AWS::Partition}:s3:::${LakeBucket}"


def role(**statement: Any) -> dict[str, Any]:
    """A template of one role with one statement."""
    document = {"Statement": [{"Effect": "Allow", **statement}]}
    properties = {"Policies": [{"PolicyName": "planted", "PolicyDocument": document}]}
    return {"Resources": {"Planted": {"Type": "AWS::IAM::Role", "Properties": properties}}}


@pytest.mark.parametrize("name", sorted(templates.files()))
def test_permissions_are_narrow(name: str) -> None:
    assert faults(templates.load(name)) == []


@pytest.mark.parametrize(
    ("statement", "fault"),
    [
        ({"Action": "*", "Resource": {"Ref": "BucketArn"}}, "* is a wildcard"),
        ({"Action": ["s3:GetObject", "s3:*"], "Resource": {"Ref": "BucketArn"}}, "s3:* is a wildcard"),
        ({"Action": "s3:Get*", "Resource": {"Ref": "BucketArn"}}, "s3:Get* is a wildcard"),
        ({"Action": "s3:GetObject", "Resource": "*"}, "s3:GetObject of everything"),
        ({"Action": "s3:GetObject", "Resource": ["arn:aws:s3:::a/b", "*"]}, "s3:GetObject of everything"),
        ({"Action": ["ec2:DescribeSubnets", "ec2:RunInstances"], "Resource": "*"}, "ec2:RunInstances of everything"),
        ({"Action": "s3:PutObject", "Resource": {"Fn::Sub": f"{BUCKET}/*"}}, "is all of the lake"),
        ({"Action": "s3:GetObject", "Resource": "arn:aws:s3:::*"}, "is more than the stack's own"),
        ({"Action": "s3:GetObject", "Resource": "arn:aws:s3:::shop-*/raw/*"}, "is more than the stack's own"),
        (
            {"Action": "lambda:InvokeFunction", "Resource": {"Fn::Sub": "arn:aws:lambda:us-east-1:1:function:*"}},
            "is more than the stack's own",
        ),
        ({"NotAction": "iam:PassRole", "Resource": {"Ref": "BucketArn"}}, "NotAction allows all else"),
        ({"Action": "sqs:SendMessage", "NotResource": {"Ref": "QueueArn"}}, "NotResource allows all else"),
        ({"Action": "s3:GetObject", "Resource": {"Ref": "BucketArn"}, "Principal": "*"}, "anybody may"),
        ({"Action": "s3:GetObject", "Resource": {"Ref": "BucketArn"}, "Principal": {"AWS": ["*"]}}, "anybody may"),
    ],
)
def test_the_lint_finds_what_is_planted(statement: dict[str, Any], fault: str) -> None:
    (found,) = faults(role(**statement))
    assert found.startswith("Planted: ")
    assert fault in found


@pytest.mark.parametrize(
    "statement",
    [
        {"Action": "s3:PutObject", "Resource": {"Fn::Sub": f"{BUCKET}/raw/*"}},
        {"Action": "s3:GetObject", "Resource": {"Fn::Sub": f"{BUCKET}/*"}},
        {"Action": "cloudwatch:GetMetricData", "Resource": "*"},
        {"Effect": "Deny", "Action": "s3:*", "Resource": "*", "Principal": "*"},
        {"Action": "logs:PutLogEvents", "Resource": {"Fn::GetAtt": ["Logs", "Arn"]}},
    ],
)
def test_the_lint_lets_pass_what_is_narrow(statement: dict[str, Any]) -> None:
    assert faults(role(**statement)) == []


@pytest.mark.parametrize(
    ("type_", "properties", "fault"),
    [
        ("AWS::Serverless::Function", {"Policies": [{"S3ReadPolicy": {"BucketName": "lake"}}], "Role": "r"}, "SAM's"),
        ("AWS::Serverless::Function", {}, "a role of its own"),
        ("AWS::IAM::Role", {"ManagedPolicyArns": ["arn:aws:iam::aws:policy/AmazonS3FullAccess"]}, "AWS's"),
        (
            "AWS::KMS::Key",
            {
                "KeyPolicy": {
                    "Statement": {"Effect": "Allow", "Principal": "*", "Action": "kms:Decrypt", "Resource": "*"}
                }
            },
            "anybody may",
        ),
        (
            "AWS::SQS::QueuePolicy",
            {
                "PolicyDocument": {
                    "Statement": {"Effect": "Allow", "Principal": "*", "Action": "sqs:*", "Resource": "q"}
                }
            },
            "sqs:* is a wildcard",
        ),
    ],
)
def test_the_lint_knows_other_ways_to_allow(type_: str, properties: dict[str, Any], fault: str) -> None:
    told = faults({"Resources": {"Planted": {"Type": type_, "Properties": properties}}})
    assert any(fault in each for each in told)


def test_every_exception_is_one_that_a_template_takes() -> None:
    everything = [statement for name in templates.names() for statement in statements(templates.load(name))]
    for_all = {action for each in everything if each.get("Resource") == "*" for action in actions(each)}
    assert for_all >= WITHOUT_RESOURCES.keys()
    targets = json.dumps([each.get("Resource") for each in everything])
    assert all(resource in targets for resource in WIDE_RESOURCES)


@pytest.mark.slow
@pytest.mark.timeout(300)  # the first time cfn-lint is installed
def test_actions_are_what_the_services_have() -> None:
    """By the service authorization reference, which cfn-lint brings along."""
    home = ensure_environment("sam", print)
    (file,) = home.glob("lib/python*/site-packages/cfnlint/data/AdditionalSpecs/Policies.json")
    services = json.loads(file.read_text())
    known = {
        f"{service}:{action}".lower(): each.get("Resources", [])
        for service, content in services.items()
        for action, each in content["Actions"].items()
    }
    named = {
        action
        for name in templates.names()
        for statement in statements(templates.load(name))
        if statement["Effect"] == "Allow"
        for action in actions(statement)
    }
    assert {action for action in named if action.lower() not in known} == {"kms:*"}
    never = {
        action
        for name in templates.names()
        for statement in statements(templates.load(name))
        for action in actions(statement)
        if statement.get("Resource", "*") != "*" and not known.get(action.lower(), True)
    }
    assert not never, "what knows no resources is not allowed by a policy that names one"
    # CloudWatch's data sets are not its metrics.
    narrower = {action: known[action.lower()] for action in WITHOUT_RESOURCES if known[action.lower()]}
    assert narrower == {"cloudwatch:GetMetricData": ["dataset"], "cloudwatch:PutMetricData": ["dataset"]}
