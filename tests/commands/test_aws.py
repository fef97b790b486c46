"""Commands where the platform runs on AWS: what they ask for before anything starts, and where they send people."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from commands.cli import cli, main
from streaming.runtime.supervisor import running_system
from streaming.settings import ROOT
from tests.commands.conftest import system_with, wait_until

COMPLETE = {
    "CLICKSTREAM_DEPLOYMENT": "aws",
    "CLICKSTREAM_STACK": "shop-clicks",
    "CLICKSTREAM_LAKE_BUCKET": "shop-clicks-lake",
    "CACHE_REDIS_URL": "secretsmanager:shop/redis",
    "MYSQL_URL": "secretsmanager:shop/mysql",
    "AWS_REGION": "eu-west-1",
}


@pytest.fixture(autouse=True)
def on_aws(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    for name in ("AWS_DEFAULT_REGION", "REDIS_URL"):
        monkeypatch.delenv(name, raising=False)
    for name, value in (COMPLETE | {"CLICKSTREAM_HOME": str(tmp_path), "AWS_CONFIG_FILE": "/dev/null"}).items():
        monkeypatch.setenv(name, value)


def said(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *arguments: str) -> str:
    """What a command that a person can mend says."""
    monkeypatch.setattr("sys.argv", ["run", *arguments])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 1
    return capsys.readouterr().err


@pytest.mark.parametrize("command", ["up", "materialize"])
@pytest.mark.parametrize("missing", ["CLICKSTREAM_LAKE_BUCKET", "AWS_REGION", "CACHE_REDIS_URL", "MYSQL_URL"])
def test_what_is_not_set_is_named_before_anything_starts(
    command: str, missing: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(missing)

    told = said(capsys, monkeypatch, command)

    assert told.startswith(f"error: CLICKSTREAM_DEPLOYMENT is aws, which needs {missing} (")
    assert told.count("\n") == 1


@pytest.mark.parametrize("command", ["demo", "soak"])
def test_commands_that_need_servers_of_their_own_say_what_to_do(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "./run send" in said(capsys, monkeypatch, command)


def test_up_without_dagster_is_nothing() -> None:
    outcome = CliRunner().invoke(cli, ["up", "--no-dagster"])

    assert (outcome.exit_code, "nothing to run here" in outcome.output) == (2, True)


def test_query_names_the_workgroup_to_ask() -> None:
    outcome = CliRunner().invoke(cli, ["query", "SELECT 1"])

    assert outcome.exit_code == 1
    assert outcome.output == "Error: on AWS, ask Athena: workgroup shop-clicks, database shop_clicks\n"


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_up_runs_dagster_alone(
    aws: str, cache_redis_url: str, mysql_url: str, geo_folder: Path, tmp_path: Path, free_port: int
) -> None:
    environment = {
        "CACHE_REDIS_URL": cache_redis_url,
        "MYSQL_URL": mysql_url,
        "GEOIP_DATABASE": str(geo_folder),
        "DAGSTER_URL": f"http://127.0.0.1:{free_port}",
    }
    with subprocess.Popen(
        [sys.executable, "-m", "commands", "up"],
        cwd=ROOT,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        dagster = {"dagster-code", "dagster-webserver", "dagster-daemon"}
        system = system_with(process, tmp_path, *dagster)
        wait_until(lambda: set((running_system(tmp_path) or {}).get("ready", ())) == dagster, process)
        process.terminate()
        told, _ = process.communicate(timeout=90)

    assert set(system["processes"]) == dagster
    assert process.returncode == 0, told
    assert "lake       s3://shop-clicks-lake" in told
