"""`./run deploy`: the platform on AWS, from the template in infra/ and the zips of `./run package`.

AWS SAM does what it is good at: it uploads what the template names under the hash of its content, makes a change set of
it, and shows how that goes.
"""

import json
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

import click
from botocore.exceptions import ClientError
from msgspec import yaml

from commands.cli import say
from commands.package import BUILD, Zip, build
from commands.stacks import (
    Account,
    NoAccountError,
    code_bucket,
    find_account,
    find_stack,
    first_failure,
    run_sam,
    stack_name,
)
from streaming.edges.aws import client
from streaming.runtime.supervisor import SupervisorError
from streaming.settings import ROOT

TEMPLATES = ROOT / "infra"
# What ./run needs to work with a deployment, from the outputs of its stack.
ENVIRONMENT = {
    "CLICKSTREAM_LAKE_BUCKET": "{LakeBucket}",
    "COLLECTOR_URL": "{IngestionUrl}",
    "CACHE_REDIS_URL": "secretsmanager:{RedisSecret}",
    "MYSQL_URL": "secretsmanager:{MysqlSecret}",
}
CAPABILITIES = ("CAPABILITY_IAM", "CAPABILITY_NAMED_IAM", "CAPABILITY_AUTO_EXPAND")


@click.command()
@click.option("--stage", help="Such as dev or prod; the stack is clickstream-STAGE.")
@click.option("--stack", help="The stack's whole name, instead.")
@click.option("--parameter", "-p", multiple=True, metavar="NAME=VALUE", help="A parameter of the template.")
@click.option("--geoip", type=click.Path(path_type=Path, exists=True), help="An mmdb file or folder, as a layer.")
@click.option("--dry-run", is_flag=True, help="Show what would change; without an account, check what needs none.")
def deploy(stage: str | None, stack: str | None, parameter: tuple[str, ...], geoip: Path | None, dry_run: bool) -> None:
    """Build, check, upload and deploy the platform on AWS; print its addresses and what ./run needs to use it.

    Who deploys is found as every AWS tool finds it: AWS_PROFILE, AWS_REGION, or a role of the machine. A parameter that
    is not named keeps the value it has.
    """
    name = stack_name(stage, stack)
    chosen = _parse(parameter)
    template = TEMPLATES / "template.yaml"
    expect_parameters(template, chosen)
    account, unreached = None, ""
    try:
        account = find_account()
    except NoAccountError as error:
        if not dry_run:
            raise
        unreached = str(error)
    zips = build(BUILD, geoip)
    say(f"built {len(zips)} zips in {BUILD}")
    check(TEMPLATES)
    if account is None:
        say(f"the templates are sound; nothing could be compared with a stack: {unreached}")
        return
    say(f"stack {name} in account {account.number}, region {account.region}")
    deploy_template(template, name, account, zips, chosen, dry_run=dry_run)
    if not dry_run:
        show(name)


def check(folder: Path) -> None:
    """Lint every template of a folder.

    Raises:
        SupervisorError: one has something wrong, which has been shown.
    """
    root = folder / "template.yaml"
    templates = sorted(file for file in folder.iterdir() if "AWSTemplateFormatVersion" in file.read_text())
    linted = run_sam("cfn-lint", *templates, say=say)
    if linted or run_sam("sam", "validate", "--lint", "--region", "us-east-1", "--template-file", root, say=say):
        raise SupervisorError("the templates in infra/ have faults, see above")


def deploy_template(
    template: Path, name: str, account: Account, zips: list[Zip], parameters: dict[str, str], *, dry_run: bool = False
) -> None:
    """Create or update a stack from a template; with `dry_run` only show what would change.

    Raises:
        SupervisorError: it failed, and CloudFormation has rolled it back; the message names what failed first.
    """
    known = parameters_of(template).keys()
    if (found := find_stack(name)) and found["StackStatus"] == "ROLLBACK_COMPLETE":
        raise SupervisorError(f"the stack {name} was never complete and cannot be updated: ./run destroy it first")
    bucket = ensure_bucket(code_bucket(name, account), account)
    keys = {zipped.file.stem: upload(zipped, bucket, name) for zipped in zips if zipped.file.stem in ("jobs", "source")}
    made = {"ArtifactBucket": bucket, "JobsKey": keys.get("jobs", ""), "SourceKey": keys.get("source", "")}
    layer = next((publish_layer(zipped, bucket, name) for zipped in zips if zipped.file.stem == "geoip"), None)
    values = {key: value for key, value in made.items() if key in known} | ({"GeoipLayer": layer} if layer else {})
    command: list[str | Path] = ["sam", "deploy", "--template-file", template, "--stack-name", name]
    command += ["--region", account.region, "--s3-bucket", bucket, "--s3-prefix", name, "--tags", f"clickstream={name}"]
    command += ["--capabilities", *CAPABILITIES, "--no-confirm-changeset", "--no-fail-on-empty-changeset"]
    # In quotes, SAM takes any value: one of several words, and an empty one.
    if overrides := [f"{key}={json.dumps(value)}" for key, value in {**values, **parameters}.items()]:
        command += ["--parameter-overrides", *overrides]
    if dry_run:
        command += ["--no-execute-changeset"]
    if run_sam(*command, say=say):
        failure = first_failure(name) if find_stack(name) else None
        reason = f"first failed: {failure}" if failure else "see above"
        raise SupervisorError(f"the stack {name} was not deployed; {reason}")
    if dry_run:
        _forget_change_sets(name)


def expect_parameters(template: Path, parameters: dict[str, str]) -> None:
    """Have a template take these parameters.

    Raises:
        SupervisorError: it has none of a name, or takes other values.
    """
    known = parameters_of(template)
    if unknown := parameters.keys() - known.keys():
        raise SupervisorError(f"the template has no parameter {', '.join(sorted(unknown))}")
    for name, value in parameters.items():
        allowed = [str(each) for each in known[name].get("AllowedValues", [value])]
        if value not in allowed:
            raise SupervisorError(f"the parameter {name} is one of {', '.join(allowed)}, not {value!r}")


def parameters_of(template: Path) -> dict[str, dict[str, Any]]:
    """A template's parameters by name, as it declares them."""
    section = re.search(r"^Parameters:\n(.*?)(?=^\S|\Z)", template.read_text(), re.MULTILINE | re.DOTALL)
    declared: dict[str, dict[str, Any]] = yaml.decode(section.group(1)) if section else {}
    return declared


def ensure_bucket(bucket: str, account: Account) -> str:
    """The bucket of what is deployed, made when it is not there: private and versioned.

    Raises:
        SupervisorError: it is another account's, or may not be used.
    """
    s3 = client("s3")
    try:
        s3.head_bucket(Bucket=bucket, ExpectedBucketOwner=account.number)
    except ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] != 404:
            raise SupervisorError(f"the bucket {bucket} cannot be used: {error}") from error
        is_nameless = account.region == "us-east-1"
        place = {} if is_nameless else {"CreateBucketConfiguration": {"LocationConstraint": account.region}}
        s3.create_bucket(Bucket=bucket, **place)
    closed = dict.fromkeys(("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets"), True)
    s3.put_public_access_block(Bucket=bucket, PublicAccessBlockConfiguration=closed)
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    return bucket


def upload(zipped: Zip, bucket: str, prefix: str) -> str:
    """Upload a zip under the hash of its content, unless it is there; returns its key."""
    key = f"{prefix}/{zipped.sha256}/{zipped.file.name}"
    s3 = client("s3")
    if not s3.list_objects_v2(Bucket=bucket, Prefix=key)["KeyCount"]:
        s3.upload_file(str(zipped.file), bucket, key)
    return key


def publish_layer(zipped: Zip, bucket: str, stack: str) -> str:
    """The version of the stack's layer with this content, published unless there is one; returns its ARN."""
    functions, name = client("lambda"), f"{stack}-{zipped.file.stem}"
    for version in functions.list_layer_versions(LayerName=name)["LayerVersions"]:
        if version.get("Description") == zipped.sha256:
            return str(version["LayerVersionArn"])
    content = {"S3Bucket": bucket, "S3Key": upload(zipped, bucket, stack)}
    version = functions.publish_layer_version(LayerName=name, Description=zipped.sha256, Content=content)
    return str(version["LayerVersionArn"])


def show(name: str) -> None:
    """Print what the stack says of itself, and the environment in which `./run` works with it."""
    found = find_stack(name) or {}
    outputs = {output["OutputKey"]: output["OutputValue"] for output in found.get("Outputs", [])}
    for key, value in outputs.items():
        click.echo(f"{key:24} {value}")
    click.echo("\n# for ./run up, verify, materialize, status and query on this deployment")
    click.echo("export CLICKSTREAM_DEPLOYMENT=aws")
    click.echo(f"export CLICKSTREAM_STACK={name}")
    for variable, form in ENVIRONMENT.items():
        with suppress(KeyError):
            click.echo(f"export {variable}={form.format_map(outputs)}")


def _parse(parameters: tuple[str, ...]) -> dict[str, str]:
    pairs = [parameter.partition("=") for parameter in parameters]
    if wrong := [key for key, equals, _ in pairs if not equals]:
        raise click.UsageError(f"a parameter is NAME=VALUE, not {wrong[0]}")
    return {key: value for key, _, value in pairs}


def _forget_change_sets(name: str) -> None:
    """Remove what looking at a change leaves behind: the change set, and of a new stack the empty shell."""
    cloudformation = client("cloudformation")
    if (found := find_stack(name)) and found["StackStatus"] == "REVIEW_IN_PROGRESS":
        cloudformation.delete_stack(StackName=name)
        return
    for change_set in cloudformation.list_change_sets(StackName=name)["Summaries"]:
        cloudformation.delete_change_set(StackName=name, ChangeSetName=change_set["ChangeSetName"])
