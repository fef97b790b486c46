"""What the Spark job `enrich` opens in each of its processes, without Spark."""

from pathlib import Path

import boto3
import msgspec
import pyarrow as pa
import pytest

from streaming.domain.enrichment import CODE_VERSION
from streaming.edges import secrets
from streaming.edges.secrets import SecretError
from streaming.jobs.enrich import look_ups
from streaming.jobs.files import write_table
from streaming.jobs.work import HandedOver


@pytest.fixture
def handed_over(aws: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> HandedOver:
    """Names, and ipinfo.io with a token that a secret holds; it is not there yet."""
    names = f"{tmp_path}/names.parquet"
    write_table(pa.table({"user_id": ["20"], "name": ["Semyon Ryan"]}), names)
    monkeypatch.setattr(secrets, "_known", {})
    settings = {"IPINFO_TOKEN": "secretsmanager:enrich/ipinfo", "IPINFO_URL": "http://127.0.0.1:1"}
    for name, value in settings.items():
        monkeypatch.setenv(name, value)  # to be taken back, for the job sets them for its process
    return HandedOver(f"{CODE_VERSION}/ipinfo@live/users@1", names, None, settings)


def test_a_token_that_cannot_be_read_fails_the_job(handed_over: HandedOver) -> None:
    """Rather than every place being one that could not be found, in hours that are then published."""
    with pytest.raises(SecretError, match="enrich/ipinfo"):
        look_ups(msgspec.json.encode(handed_over))


def test_a_token_that_can_be_read_does_not(handed_over: HandedOver) -> None:
    boto3.client("secretsmanager").create_secret(Name="enrich/ipinfo", SecretString="token")
    assert look_ups(msgspec.json.encode(handed_over)).names == {"20": "Semyon Ryan"}
