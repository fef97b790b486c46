"""`./run deploy`: the platform on AWS, from the template in infra/ and the zips of `./run package`.

AWS SAM does what it is good at: it uploads what the template names under the hash of its content, deploys it, and shows
how that goes. What would change is looked at before, for SAM does not look into nested stacks.
"""

import json
import re
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
from botocore.exceptions import ClientError
from msgspec import yaml

from commands.aws.change_sets import CAPABILITIES, changes
from commands.aws.stacks import (
    IN_REVIEW,
    NEVER_COMPLETE,
    Account,
    NoAccountError,
    code_bucket,
    find_account,
    find_stack,
    first_failure,
    run_sam,
    stack_name,
)
from commands.cli import say
from commands.package import BUILD, Zip, build
from streaming.domain.stack import Stack
from streaming.edges.aws import client
from streaming.edges.event_stream import EVENTS
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


@click.command()
@click.option("--stage", help="Such as dev or prod; the stack is clickstream-STAGE.")
@click.option("--stack", help="The stack's whole name, instead.")
@click.option("--parameter", "-p", multiple=True, metavar="NAME=VALUE", help="A parameter of the template.")
@click.option("--geoip", type=click.Path(path_type=Path, exists=True), help="An mmdb file or folder, as a layer.")
@click.option("--dry-run", is_flag=True, help="Show what would change; without an account, check what needs none.")
@click.option(
    "--allow-loss", is_flag=True, help="Remove or replace streams, buckets and databases where it comes to that."
)
def deploy(
    stage: str | None,
    stack: str | None,
    parameter: tuple[str, ...],
    geoip: Path | None,
    dry_run: bool,
    allow_loss: bool,
) -> None:
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
    deploy_template(template, name, account, zips, chosen, dry_run=dry_run, allow_loss=allow_loss)
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
    template: Path,
    name: str,
    account: Account,
    zips: list[Zip],
    parameters: dict[str, str],
    *,
    dry_run: bool = False,
    allow_loss: bool = False,
) -> None:
    """Create or update a stack from a template; with `dry_run` only show what would change.

    Raises:
        SupervisorError: the stack cannot be changed as it is; or something that holds data would go, without
            `allow_loss`; or it failed, and CloudFormation has rolled it back: the message names what failed first.
    """
    expect_changeable(name)
    known = parameters_of(template)
    bucket = ensure_bucket(code_bucket(name, account), account)
    keys = {zipped.file.stem: upload(zipped, bucket, name) for zipped in zips if zipped.file.stem in ("jobs", "source")}
    made = {"ArtifactBucket": bucket, "JobsKey": keys.get("jobs", ""), "SourceKey": keys.get("source", "")}
    layer = next((publish_layer(zipped, bucket, name) for zipped in zips if zipped.file.stem == "geoip"), None)
    values = {key: value for key, value in (made | open_shards(name)).items() if key in known}
    values |= {"GeoipLayer": layer} if layer else {}
    values |= parameters
    places = ["--region", account.region, "--s3-bucket", bucket, "--s3-prefix", name]
    review(name, package(template, name, bucket, places), known, values, allow_loss=allow_loss)
    if not dry_run:
        _deploy(name, template, places, values)


def expect_changeable(name: str) -> None:
    """Have a stack, if there is one, be in a state from which it can be deployed.

    Raises:
        SupervisorError: it is not; the message says what to do.
    """
    found = find_stack(name)
    status = found["StackStatus"] if found else IN_REVIEW
    if status in NEVER_COMPLETE:
        raise SupervisorError(
            f"the stack {name} was never complete ({status}) and cannot be updated: `./run destroy --stack {name}` "
            "first, which lets go of a protected database, too"
        )
    if status == "DELETE_FAILED":
        raise SupervisorError(f"the stack {name} is half removed: `./run destroy --stack {name}` again")
    if status == "UPDATE_ROLLBACK_FAILED":
        raise SupervisorError(
            f"the stack {name} could not return to what it was; first failed: {first_failure(name)}. Mend that, then "
            f"`aws cloudformation continue-update-rollback --stack-name {name}`, with --resources-to-skip for what "
            "cannot be mended, and deploy again"
        )
    if status.endswith("_IN_PROGRESS") and status != IN_REVIEW:
        raise SupervisorError(f"the stack {name} is being changed ({status}): deploy when that has ended")


def open_shards(name: str) -> dict[str, str]:
    """The shards that a stack's stream has now, as a parameter; none where there is no stream.

    An update that changes anything of the stream would else ask for as many as it began with, whatever the scaler did.
    """
    kinesis = client("kinesis")
    with suppress(kinesis.exceptions.ResourceNotFoundException):
        described = kinesis.describe_stream_summary(StreamName=Stack(name).part(EVENTS))["StreamDescriptionSummary"]
        return {"Shards": str(described["OpenShardCount"])}
    return {}


def package(template: Path, name: str, bucket: str, places: list[str]) -> str:
    """Upload a template with all that it names; the address under which CloudFormation finds it.

    Raises:
        SupervisorError: SAM cannot, and has said why.
    """
    s3, key = client("s3"), f"{name}/{template.name}"
    with TemporaryDirectory() as folder:
        packaged = Path(folder, template.name)
        command: list[str | Path] = [
            "sam",
            "package",
            "--template-file",
            template,
            "--output-template-file",
            packaged,
            *places,
        ]
        if run_sam(*command, say=say, quiet=True):
            raise SupervisorError(f"the templates of {name} cannot be uploaded; see above")
        s3.upload_file(str(packaged), bucket, key)
    return f"{s3.meta.endpoint_url}/{bucket}/{key}"


def review(name: str, template: str, known: Collection[str], values: dict[str, str], *, allow_loss: bool) -> None:
    """Show what a template, by its address, would change.

    Raises:
        SupervisorError: something that holds data would go, without `allow_loss`.
    """
    proposed = changes(name, template, known, values)
    for change in proposed:
        say(str(change))
    say(f"{len(proposed)} resources of {name} change" if proposed else f"nothing of {name} changes")
    lost = [change.path for change in proposed if change.loses_data]
    if lost and not allow_loss:
        raise SupervisorError(
            f"{name} stays as it is, for {', '.join(lost)} would be removed or replaced, with what they hold or have "
            "yet to deliver: --allow-loss has it done all the same"
        )


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


def _deploy(name: str, template: Path, places: list[str], values: dict[str, str]) -> None:
    command: list[str | Path] = ["sam", "deploy", "--template-file", template, "--stack-name", name, *places]
    command += ["--tags", f"clickstream={name}", "--capabilities", *CAPABILITIES]
    command += ["--no-confirm-changeset", "--no-fail-on-empty-changeset"]
    # In quotes, SAM takes any value: one of several words, and an empty one.
    if overrides := [f"{key}={json.dumps(value)}" for key, value in values.items()]:
        command += ["--parameter-overrides", *overrides]
    if run_sam(*command, say=say):
        failure = first_failure(name) if find_stack(name) else None
        reason = f"first failed: {failure}" if failure else "see above"
        raise SupervisorError(f"the stack {name} was not deployed; {reason}")
