"""Commands where the platform runs on AWS: what they ask for before anything starts, and where they send people."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from botocore.exceptions import EndpointConnectionError
from click.testing import CliRunner

from commands.aws.errors import advice
from commands.cli import cli, main
from streaming.runtime.supervisor import running_system
from streaming.settings import ROOT
from tests.commands.conftest import system_with, wait_until
from tests.commands.test_cli import run

COMPLETE = {
    "CLICKSTREAM_DEPLOYMENT": "aws",
    "CLICKSTREAM_STACK": "shop-clicks",
    "CLICKSTREAM_LAKE_BUCKET": "shop-clicks-lake",
    "CACHE_REDIS_URL": "secretsmanager:shop/redis",
    "MYSQL_URL": "secretsmanager:shop/mysql",
    "AWS_REGION": "eu-west-1",
}
KEYS = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}


@pytest.fixture(autouse=True)
def on_aws(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    for name in ("AWS_DEFAULT_REGION", "AWS_PROFILE", "AWS_SESSION_TOKEN", "REDIS_URL"):
        monkeypatch.delenv(name, raising=False)
    for name, value in (COMPLETE | KEYS | {"CLICKSTREAM_HOME": str(tmp_path), "AWS_CONFIG_FILE": "/dev/null"}).items():
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


def test_customers_and_traffic_are_sent_to_the_deployment(monkeypatch: pytest.MonkeyPatch, free_port: int) -> None:
    monkeypatch.delenv("MYSQL_URL")
    monkeypatch.setenv("COLLECTOR_URL", f"http://127.0.0.1:{free_port}")

    customers = CliRunner().invoke(cli, ["customers", "list"])
    sent = CliRunner().invoke(cli, ["send", "--events", "1"])

    assert (customers.exit_code, sent.exit_code) == (1, 1)
    assert "needs MYSQL_URL and CACHE_REDIS_URL as ./run deploy printed them" in customers.output
    assert "Set COLLECTOR_URL as ./run deploy printed it" in sent.output
    assert "./run up" not in customers.output + sent.output


READ = [["verify"], ["status"], ["dashboard"], ["replay", "--dry-run"], ["materialize"]]
EXPIRED = {
    "GET": b"<Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message></Error>",  # of S3
    "POST": b'{"__type": "ExpiredTokenException", "message": "The security token included in the request is expired"}',
}


@pytest.fixture
def expired() -> Iterator[str]:
    """The address of an AWS that takes every login for an old one."""

    class Refusing(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("content-length", 0)))
            self.send_response(400)
            self.send_header("content-length", str(len(EXPIRED[self.command])))
            self.end_headers()
            self.wfile.write(EXPIRED[self.command])

        def do_GET(self) -> None:
            self.do_POST()

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def last_line(*arguments: str, status: int = 1, **environment: str) -> str:
    """What a command in a process of its own says in the end; it shows no trace."""
    done = run(*arguments, **{"AWS_EC2_METADATA_DISABLED": "true", **environment})
    assert done.returncode == (3 if arguments[0] == "status" else status), done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr
    return done.stderr


@pytest.mark.parametrize("command", [["verify"], ["dashboard"]])
def test_who_reads_tables_alone_needs_the_lake_alone(command: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CLICKSTREAM_LAKE_BUCKET", "AWS_REGION", "CACHE_REDIS_URL", "MYSQL_URL"):
        monkeypatch.delenv(name)

    told = last_line(*command)

    assert "needs CLICKSTREAM_LAKE_BUCKET (the bucket of the lake), AWS_REGION (the region of the stack)\n" in told


@pytest.mark.timeout(120)
@pytest.mark.parametrize("command", READ)
def test_without_credentials_one_line_says_what_to_do(command: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in KEYS:
        monkeypatch.delenv(name)

    assert last_line(*command).startswith("error: no credentials of AWS are found: `aws configure sso`")


@pytest.mark.timeout(120)
@pytest.mark.parametrize("command", READ)
def test_a_login_that_has_expired_is_named(command: list[str], expired: str) -> None:
    told = last_line(*command, AWS_ENDPOINT_URL=expired)

    assert told.startswith("error: your login to AWS has expired: ")


def test_an_aws_that_is_out_of_reach_is_named(free_port: int) -> None:
    address = f"http://127.0.0.1:{free_port}"
    error = EndpointConnectionError(endpoint_url=address)
    outer = RuntimeError("a resource")
    outer.__cause__ = error

    assert advice(outer) == advice(error)
    assert str(advice(outer)).startswith(f'AWS cannot be reached (Could not connect to the endpoint URL: "{address}")')
    assert advice(RuntimeError("of ours")) is None


def test_status_in_json_is_one_document_whatever_happens(expired: str) -> None:
    done = run("status", "--json", AWS_ENDPOINT_URL=expired)

    assert done.returncode == 3
    document = json.loads(done.stdout)
    assert (document["state"], document["processes"]) == ("unknown", {})
    assert document["error"].startswith("your login to AWS has expired")


def test_a_profile_that_is_none_is_named() -> None:
    told = last_line("materialize", AWS_PROFILE="nope")

    assert told.startswith("error: AWS_PROFILE: The config profile (nope) could not be found; ")


def on_kinesis(command: str, monkeypatch: pytest.MonkeyPatch, missing: str) -> str:
    """What a local platform on Kinesis says before it starts."""
    for name in (*COMPLETE, *KEYS):
        monkeypatch.delenv(name, raising=False)
    given = {"AWS_REGION": "eu-west-1"} if missing != "AWS_REGION" else {}
    return last_line(command, CLICKSTREAM_STREAM="kinesis", **given)


def test_a_local_platform_on_kinesis_needs_a_region_and_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "CLICKSTREAM_STREAM is kinesis, which needs AWS_REGION" in on_kinesis("up", monkeypatch, "AWS_REGION")
    assert "no credentials of AWS are found" in on_kinesis("up", monkeypatch, "credentials")


@pytest.mark.parametrize("command", ["demo", "soak"])
def test_who_waits_for_the_stream_to_empty_refuses_kinesis(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "kinesis does not count the records that wait" in on_kinesis(command, monkeypatch, "AWS_REGION")
