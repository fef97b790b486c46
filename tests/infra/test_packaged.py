"""What `sam package` makes of the templates: all that they name as files of ours is uploaded, in nested stacks too."""

import json
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from commands.environments import ensure_environment
from commands.package import lambda_roles, write_zip
from streaming.edges.aws import client
from streaming.runtime.servers import LOOPBACK
from streaming.settings import ROOT
from tests.infra.templates import INFRA, NESTED, names, parse, resources

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]  # the first time the environment is installed


class Repository(BaseHTTPRequestHandler):
    """The Serverless Application Repository: it has every application, as a template at an address."""

    def do_POST(self) -> None:
        """A template is asked for, and is there."""
        self.rfile.read(int(self.headers["content-length"]))
        self._answer(201)

    def do_GET(self) -> None:
        """It is asked whether it is there."""
        self._answer(200)

    def log_message(self, *_: Any) -> None:
        """Nothing."""

    def _answer(self, status: int) -> None:
        body = json.dumps({"templateId": "1", "templateUrl": "https://localhost/application", "status": "ACTIVE"})
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())


@pytest.fixture
def repository() -> Iterator[str]:
    """The address of the repository, which `sam package` asks for Athena's connectors."""
    server = ThreadingHTTPServer((LOOPBACK, 0), Repository)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://{LOOPBACK}:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_everything_is_uploaded(aws: str, repository: str, tmp_path: Path) -> None:
    # given: templates, jobs, and a zip for each Lambda
    for name in names():
        copied(INFRA / name, tmp_path)
    for script in (ROOT / "streaming" / "jobs").glob("*.py"):
        copied(script, tmp_path)
    (tmp_path / ".build").mkdir()
    for role in lambda_roles():
        write_zip(tmp_path / ".build" / f"{role}.zip", {f"{role}.py": role.encode()})
    client("s3").create_bucket(Bucket="code")
    # when
    packaged = tmp_path / "packaged.json"
    program = ensure_environment("sam", print) / "bin" / "sam"
    command = [program, "package", "--template-file", "infra/template.yaml", "--s3-bucket", "code", "--use-json"]
    done = subprocess.run(
        [*command, "--output-template-file", packaged, "--region", "us-east-1"],
        env=account(aws, repository, tmp_path), cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    # then
    nested = list(nested_templates(json.loads(packaged.read_text())))
    assert len(nested) == len(names())
    made = [each for template in nested for each in template["Resources"].values()]
    code = {each["Properties"]["CodeUri"] for each in made if each["Type"] == "AWS::Serverless::Function"}
    scripts = {each["Properties"]["Command"]["ScriptLocation"] for each in made if each["Type"] == "AWS::Glue::Job"}
    assert len(code) == len(lambda_roles())
    assert len(scripts) == len(list(resources("AWS::Glue::Job")))
    assert all(place.startswith("s3://code/") and read(place) for place in code | scripts)


def account(address: str, repository: str, home: Path) -> dict[str, str]:
    return {
        "PATH": "/usr/bin:/bin", "HOME": str(home), "SAM_CLI_TELEMETRY": "0", "AWS_ENDPOINT_URL": address,
        "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_ENDPOINT_URL_SERVERLESSAPPLICATIONREPOSITORY": repository,
    }  # fmt: skip


def copied(file: Path, folder: Path) -> None:
    target = folder / file.relative_to(ROOT)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(file.read_bytes())


def nested_templates(template: dict[str, Any]) -> Any:
    """A template, and those that it nests, as they were uploaded."""
    yield template
    for resource in template["Resources"].values():
        if resource["Type"] == NESTED:
            yield from nested_templates(parse(read(resource["Properties"]["TemplateURL"]).decode()))


def read(address: str) -> bytes:
    """An object by its s3:// or https:// address."""
    parts = urlsplit(address)
    key = parts.path.lstrip("/").removeprefix("code/")
    body: bytes = client("s3").get_object(Bucket="code", Key=key)["Body"].read()
    return body
