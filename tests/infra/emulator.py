"""An emulator of AWS in an environment of its own, and templates deployed to it."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.error import URLError
from urllib.request import urlopen

import boto3

from commands.environments import ensure_environment
from streaming.runtime.servers import LOOPBACK, free_port

# Makes a client of a service.
Clients = Callable[[str], Any]


class Deployed(NamedTuple):
    """A stack: its outputs, and kind and name of each of its resources."""

    outputs: dict[str, str]
    resources: set[tuple[str, str]]


@contextmanager
def running_emulator(home: Path) -> Iterator[Clients]:
    """An empty account, as long as the block lasts."""
    port = free_port()
    program = ensure_environment("ministack", print) / "bin" / "ministack"
    environment = {
        "PATH": os.defpath, "HOME": str(home), "TMPDIR": str(home), "BIND_HOST": LOOPBACK, "GATEWAY_PORT": str(port),
        "AWS_DEFAULT_REGION": "us-east-1", "AWS_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true",
    }  # fmt: skip
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(
            [program],
            env=environment,
            cwd=home,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    address = f"http://{LOOPBACK}:{port}"
    try:
        wait(
            lambda: process.poll() is None and _answers(f"{address}/_ministack/health"),
            60,
            f"the emulator does not answer, see {home}/log",
        )
        account = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": "us-east-1"}
        yield lambda service: boto3.session.Session(**account).client(service, endpoint_url=address)
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def deploy(clients: Clients, name: str, template: str, parameters: Mapping[str, str]) -> Deployed:
    """Deploy a template; a stack that fails, fails with what failed in it."""
    cloudformation = clients("cloudformation")
    cloudformation.create_stack(
        StackName=name,
        TemplateBody=template,
        Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()],
        Capabilities=["CAPABILITY_IAM", "CAPABILITY_NAMED_IAM", "CAPABILITY_AUTO_EXPAND"],
    )

    def stack() -> dict[str, Any]:
        described: dict[str, Any] = cloudformation.describe_stacks(StackName=name)["Stacks"][0]
        return described

    wait(lambda: not stack()["StackStatus"].endswith("_IN_PROGRESS"), 60, f"stack {name} is not done")
    failed = [
        f"{each['LogicalResourceId']}: {each.get('ResourceStatusReason')}"
        for each in cloudformation.describe_stack_events(StackName=name)["StackEvents"]
        if each["ResourceStatus"] == "CREATE_FAILED"
    ]
    assert stack()["StackStatus"] == "CREATE_COMPLETE", failed
    made = cloudformation.describe_stack_resources(StackName=name)["StackResources"]
    return Deployed(
        {each["OutputKey"]: each["OutputValue"] for each in stack().get("Outputs", [])},
        {(each["ResourceType"], each["PhysicalResourceId"]) for each in made},
    )


def wait(condition: Callable[[], bool], seconds: float, what: str) -> None:
    """Wait until a condition holds, or fail with what did not come about."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.2)


def _answers(address: str) -> bool:
    try:
        with urlopen(address, timeout=2) as answer:
            return answer.status == 200
    except (URLError, OSError):
        return False
