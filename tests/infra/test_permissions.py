"""Whoever calls a service of AWS may: calls are found in the code, permissions in the templates."""

import ast
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import botocore.session
import pytest
from botocore import xform_name

from commands.package import lambda_roles
from streaming.domain.stack import METRICS
from streaming.settings import ROOT
from tests.infra import templates
from tests.infra.policies import actions, statements

# Calls whose permission goes by another name, and what boto3 itself makes of one call.
PERMISSIONS = {
    "s3:DeleteObjects": "s3:DeleteObject",
    "s3:HeadObject": "s3:GetObject",
    "s3:ListMultipartUploads": "s3:ListBucketMultipartUploads",
    "s3:ListObjectsV2": "s3:ListBucket",
}
TRANSFERS = {"upload_file": "s3:PutObject", "download_file": "s3:GetObject", "download_fileobj": "s3:GetObject"}
# What Dagster Pipes calls to run a job.
PIPES = {"glue:StartJobRun", "glue:GetJobRun", "s3:GetObject", "s3:PutObject"}
# And what a job calls to be told and to report, through Dagster Pipes.
TOLD = {"s3:GetObject", "s3:PutObject"}
# Names of clients that are handed over rather than made on the spot.
HANDED_OVER = {
    "_glue": "glue",
    "glue": "glue",
    "_s3": "s3",
    "s3": "s3",
    "kinesis": "kinesis",
    "cloudwatch": "cloudwatch",
}


def calls(files: Iterable[Path]) -> set[str]:
    """The permissions that the calls in these files take."""
    return {permission for file in files for permission in _calls(ast.parse(file.read_text()))}


def granted(*resources: str) -> set[str]:
    """What resources of the templates allow, by their logical names."""
    found = [each for _, logical, each in templates.resources() if logical in resources]
    assert found
    return {action for each in found for statement in statements(each) for action in actions(statement)}


def test_calls_are_found() -> None:
    code = """
class Lake:
    def __init__(self):
        self._api = client("athena")
        self._s3 = given
    def read(self):
        self._api.start_query_execution(QueryString="")
        for page in self._s3.get_paginator("list_objects_v2").paginate():
            self._s3.upload_file(page)
        self._s3.exceptions.NoSuchKey
        client("secretsmanager", attempts=1).get_secret_value(SecretId="")
"""
    assert set(_calls(ast.parse(code))) == {
        "athena:StartQueryExecution",
        "s3:ListBucket",
        "s3:PutObject",
        "secretsmanager:GetSecretValue",
    }


def test_dagster_may_do_what_it_does() -> None:
    called = calls([*(ROOT / "resources").rglob("*.py"), ROOT / "streaming" / "edges" / "secrets.py"])
    assert {"glue:UpdatePartition", "s3:AbortMultipartUpload", "redshift-data:ExecuteStatement"} <= called
    assert called | PIPES <= granted("LakePolicy", "EnginesPolicy")


def test_metrics_may_be_put_to_the_platforms_own_namespace_alone() -> None:
    namespaces = {
        logical: statement["Condition"]["StringEquals"]["cloudwatch:namespace"]
        for _, logical, each in templates.resources()
        for statement in statements(each)
        if "cloudwatch:PutMetricData" in actions(statement)
    }
    ours = {logical: namespace for logical, namespace in namespaces.items() if namespace != "Glue"}
    assert ours == dict.fromkeys(["EnginesPolicy", "ScaleShardsRole"], METRICS)


@pytest.mark.parametrize("role", lambda_roles())
def test_a_function_may_do_what_it_does(role: str) -> None:
    file = (ROOT / lambda_roles()[role].replace(".", "/")).with_suffix(".py")
    logical = role.title().replace("-", "")
    allowed = granted(f"{logical}Role")
    assert calls([file]) <= allowed
    ((function,),) = [[each for _, name, each in templates.resources() if name == logical]]
    needs_secrets = "secretsmanager:" in str(function["Properties"].get("Environment"))
    assert needs_secrets <= ("secretsmanager:GetSecretValue" in allowed)
    assert ("VpcConfig" in function["Properties"]) == ("ec2:CreateNetworkInterface" in allowed)


def test_a_job_may_do_what_it_does() -> None:
    called = calls([*(ROOT / "streaming" / "jobs").glob("*.py"), ROOT / "streaming" / "edges" / "secrets.py"])
    assert "secretsmanager:GetSecretValue" in called
    assert called | TOLD <= granted("JobRole", "JobTokenPolicy")


def test_who_queries_through_a_connector_may_use_what_it_spills() -> None:
    """As Athena's guide has it, under "Allow access to Athena Federated Query"."""
    ((_, _, policy),) = (each for each in templates.resources() if each[1] == "LakePolicy")
    allowed: dict[str, set[str]] = {}
    for statement in statements(policy):
        resources = statement["Resource"]
        for resource in resources if isinstance(resources, list) else [resources]:
            name = templates.text_of(resource).removesuffix("|${AWS::NoValue}").rpartition(":")[2]
            allowed.setdefault(name, set()).update(actions(statement))
    assert {"s3:GetBucketLocation", "s3:ListBucket"} <= allowed["${SpillBucket}"]
    assert "s3:GetObject" in allowed["${SpillBucket}/*"]
    connectors = [
        each["Properties"]["Parameters"] for _, _, each in templates.resources("AWS::Serverless::Application")
    ]
    assert len(connectors) == 2
    writing = {"s3:PutObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"}
    assert all(allowed[f"${{SpillBucket}}/{each['SpillPrefix']}/*"] == writing for each in connectors)


def _calls(tree: ast.AST) -> Iterator[str]:
    clients = HANDED_OVER | dict(_clients(tree))
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        service = _service(node.func.value) or clients.get(_last_name(node.func.value))
        if service:
            yield from _permissions(service, node.func.attr, node.args)


def _permissions(service: str, method: str, arguments: list[ast.expr]) -> Iterator[str]:
    if method == "get_paginator" and isinstance(arguments[0], ast.Constant):
        method = str(arguments[0].value)
    if service == "s3" and method in TRANSFERS:
        yield TRANSFERS[method]
    model = botocore.session.get_session().get_service_model(service)
    for operation in model.operation_names:
        if xform_name(operation) == method:
            yield PERMISSIONS.get(f"{service}:{operation}", f"{service}:{operation}")


def _clients(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """Names that clients are bound to, and functions that return one."""
    for node in ast.walk(tree):
        match node:
            case ast.Assign(targets=[ast.Tuple(elts=targets)], value=ast.Tuple(elts=values)):
                pairs = list(zip(targets, values, strict=False))
            case ast.Assign(targets=[target], value=value):
                pairs = [(target, value)]
            case ast.FunctionDef(name=name, body=[*_, ast.Return(value=ast.Call() as value)]):
                pairs = [(ast.Name(name), value)]
            case _:
                continue
        yield from ((_last_name(target), service) for target, value in pairs if (service := _service(value)))


def _service(node: ast.expr) -> str | None:
    """The service of `client("service", …)`."""
    match node:
        case ast.Call(func=ast.Name(id="client"), args=[ast.Constant(value=str(service)), *_]):
            return service
    return None


def _last_name(node: ast.expr) -> str:
    return re.sub(r".*\.|\(\)$", "", ast.unparse(node))
