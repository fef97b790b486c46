from collections.abc import Callable, Iterator

import boto3
import pytest

from streaming.edges import secrets
from tests.streaming.ipinfo_stub import StubIpinfo


@pytest.fixture
def ipinfo() -> Iterator[StubIpinfo]:
    with StubIpinfo() as stub:
        yield stub


@pytest.fixture
def put_secret(aws: str, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Writes a secret to the emulated account, new or once more."""
    monkeypatch.setattr(secrets, "_known", {})
    manager = boto3.client("secretsmanager")

    def put(name: str, text: str) -> None:
        try:
            manager.create_secret(Name=name, SecretString=text)
        except manager.exceptions.ResourceExistsException:
            manager.put_secret_value(SecretId=name, SecretString=text)

    return put
