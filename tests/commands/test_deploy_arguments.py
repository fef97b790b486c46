"""What `./run deploy` and `./run package` refuse before anything is built, without an account."""

from pathlib import Path

import click
import pytest

from commands.aws.stacks import stack_name
from commands.deploy import TEMPLATES, expect_parameters
from commands.package import build
from streaming.runtime.supervisor import SupervisorError
from tests.commands.test_cli import run

OFF = {"AWS_CONFIG_FILE": "/dev/null", "AWS_EC2_METADATA_DISABLED": "true", "AWS_REGION": "eu-west-1"}


@pytest.mark.parametrize(
    ("parameter", "told"),
    [
        ("Sharts=2", "the template has no parameter Sharts"),
        ("Firewall=maybe", "the parameter Firewall is one of true, false, not 'maybe'"),
        ("LogRetentionDays=2", "the parameter LogRetentionDays is one of 1, 3, 5"),
    ],
)
def test_a_parameter_that_the_template_does_not_take_is_refused_at_once(parameter: str, told: str) -> None:
    done = run("deploy", "--stage", "dev", "--dry-run", "-p", parameter, **OFF)

    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert done.stderr.startswith(f"error: {told}")


def test_parameters_that_the_template_takes_pass() -> None:
    expect_parameters(TEMPLATES / "template.yaml", {"Firewall": "false", "LogRetentionDays": "7", "Shards": "4"})
    with pytest.raises(SupervisorError, match="one of PROVISIONED, ON_DEMAND"):
        expect_parameters(TEMPLATES / "template.yaml", {"StreamMode": "on demand"})


def test_a_profile_that_is_none_ends_a_dry_run_too() -> None:
    done = run("deploy", "--stage", "dev", "--dry-run", AWS_PROFILE="nope", **OFF)

    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert done.stderr.startswith("error: AWS_PROFILE: The config profile (nope) could not be found")


def test_no_network_is_no_refusal(free_port: int) -> None:
    keys = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
    done = run("deploy", "--stage", "dev", AWS_ENDPOINT_URL=f"http://127.0.0.1:{free_port}", **keys, **OFF)

    assert done.returncode == 1
    assert done.stderr.startswith("error: AWS cannot be reached (")


def test_a_stage_and_a_stack_are_one_too_many() -> None:
    with pytest.raises(click.UsageError, match="not both"):
        stack_name("dev", "clickstream-dev")


def test_zips_go_where_a_folder_can_be() -> None:
    with pytest.raises(SupervisorError, match="/proc/x cannot be made: "):
        build(Path("/proc/x"))


@pytest.mark.parametrize("content", [None, b"", b"no database"])
def test_places_need_a_database(content: bytes | None, tmp_path: Path) -> None:
    database = tmp_path / "geoip"
    database.mkdir() if content is None else database.write_bytes(content)
    with pytest.raises(SupervisorError, match="--geoip cannot be used: "):
        build(tmp_path / "build", database)
    assert not (tmp_path / "build").exists()
