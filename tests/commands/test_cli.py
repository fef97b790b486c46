"""The command line as a person meets it."""

import os
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from commands.cli import COMMANDS, cli
from streaming.settings import ROOT


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A command in a process of its own, from another folder."""
    return subprocess.run(
        [sys.executable, "-P", "-m", "commands", *arguments],
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
        cwd="/", capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_help_lists_every_command() -> None:
    answer = CliRunner().invoke(cli, ["--help"]).output
    assert all(f"\n  {command} " in answer for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str) -> None:
    answer = CliRunner().invoke(cli, [command, "--help"])
    assert answer.exit_code == 0
    assert len(answer.output.splitlines()) > 4


def test_a_command_is_a_module_of_its_name() -> None:
    shared = {"__main__", "aws", "browser", "cli", "environments", "generated", "pages", "platform"}
    assert {module.name for module in pkgutil.iter_modules([ROOT / "commands"])} - shared == set(COMMANDS)


def test_sending_does_not_import_dagster() -> None:
    script = (
        "import sys; from commands.cli import cli; cli(['send', '--help'], standalone_mode=False); print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not {"dagster", "pandas", "pyarrow"} & set(done.stdout.split())


def test_the_benchmarks_and_their_options_explain_themselves() -> None:
    listed = CliRunner().invoke(cli, ["bench", "--help"]).output
    assert "flatten  " in listed
    own = run("bench", "flatten", "--help")
    assert own.stdout.startswith("Usage: ./run bench flatten [OPTIONS]")
    assert "--events" in own.stdout


def test_an_unknown_command_is_a_usage_error() -> None:
    done = run("demmo")
    assert done.returncode == 2
    assert "No such command 'demmo'. Did you mean demo?" in done.stderr


def test_a_bad_setting_is_one_clear_line(tmp_path: Path) -> None:
    done = run("query", "SELECT 1", CLICKSTREAM_HOME=str(tmp_path), CLICKSTREAM_SHARDS="many")
    assert done.returncode == 1
    assert done.stderr == "error: CLICKSTREAM_SHARDS must be a number of at least 1, not 'many'\n"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CLICKSTREAM_DEPLOYMENT", "aws"),
        ("CLICKSTREAM_START", "2999-01-01"),
        ("CLICKSTREAM_API_KEYS", "none.json"),
        ("CLICKSTREAM_TRUSTED_PROXIES", "10.0.0.1/8"),
        ("CLICKSTREAM_HOME", "/dev/null/home"),
    ],
)
@pytest.mark.parametrize("command", ["up", "demo"])
def test_what_a_process_would_fail_on_is_refused_before_any_starts(
    command: str, name: str, value: str, tmp_path: Path
) -> None:
    done = run(command, **{"CLICKSTREAM_HOME": str(tmp_path / "home"), name: value})
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {name}")
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "home").exists()


def test_status_and_down_work_whatever_the_settings(tmp_path: Path) -> None:
    bad = {"CLICKSTREAM_HOME": str(tmp_path), "CLICKSTREAM_SHARDS": "many"}
    status = run("status", **bad)
    assert (status.returncode, "nothing runs in" in status.stdout) == (3, True)
    assert "CLICKSTREAM_SHARDS must be" in status.stderr
    assert run("down", **bad).returncode == 0


def test_a_geo_database_that_cannot_be_used_is_refused_before_any_event(tmp_path: Path) -> None:
    done = run("up", CLICKSTREAM_HOME=str(tmp_path / "home"), GEOIP_DATABASE=str(tmp_path))
    assert done.returncode == 1
    assert done.stderr == f"error: GEOIP_DATABASE cannot be used: no mmdb file in {tmp_path}\n"


def test_status_and_down_where_nothing_runs(tmp_path: Path) -> None:
    status = run("status", CLICKSTREAM_HOME=str(tmp_path))
    assert status.returncode == 3
    assert "nothing runs in" in status.stdout
    down = run("down", CLICKSTREAM_HOME=str(tmp_path))
    assert (down.returncode, down.stdout) == (0, f"nothing runs in {tmp_path}\n")


def test_lock_names_no_host() -> None:
    assert "://" not in (ROOT / "requirements.lock").read_text()
