"""Secrets by reference, read from an emulator of Secrets Manager."""

import json
from collections.abc import Callable

import boto3
import pytest

from streaming.edges.secrets import SecretError, resolve

AURORA = {
    "username": "shop", "password": "p@ss/w:rd?", "engine": "mysql", "host": "aurora.local", "port": 3306,
    "dbname": "clickstream", "dbClusterIdentifier": "shop",
}  # fmt: skip


def test_a_value_that_names_no_secret_is_itself() -> None:
    assert resolve("mysql://root:secret@host/shop", "mysql") == "mysql://root:secret@host/shop"


@pytest.mark.parametrize(
    ("reference", "scheme", "text", "value"),
    [
        ("secretsmanager:shop/one", "", "token", "token"),
        ("secretsmanager:shop/one#ipinfo", "", '{"ipinfo": "token"}', "token"),
        ("secretsmanager:shop/one", "rediss", "rediss://:x@cache:6379/0", "rediss://:x@cache:6379/0"),
        ("secretsmanager:shop/one?ssl_ca=/opt/rds.pem", "mysql", "mysql://u:x@h/d", "mysql://u:x@h/d?ssl_ca=/opt/rds.pem"),
        (
            "secretsmanager:shop/one",
            "mysql",
            json.dumps(AURORA),
            "mysql://shop:p%40ss%2Fw%3Ard%3F@aurora.local:3306/clickstream?ssl_mode=REQUIRED",
        ),
        (
            "secretsmanager:shop/one?ssl_ca=/opt/rds.pem",
            "mysql",
            json.dumps(AURORA),
            "mysql://shop:p%40ss%2Fw%3Ard%3F@aurora.local:3306/clickstream?ssl_ca=/opt/rds.pem",
        ),
        (
            "secretsmanager:shop/one?host=aurora.local&dbname=shop",
            "mysql",
            '{"username": "root", "password": "x"}',
            "mysql://root:x@aurora.local/shop?ssl_mode=REQUIRED",
        ),
        ("secretsmanager:shop/one", "rediss", '{"password": "x", "host": "cache", "port": 6379}', "rediss://:x@cache:6379/"),
    ],
)  # fmt: skip
def test_what_a_reference_stands_for(
    put_secret: Callable[[str, str], None], reference: str, scheme: str, text: str, value: str
) -> None:
    put_secret("shop/one", text)
    assert resolve(reference, scheme) == value


def test_a_secret_may_be_named_by_its_arn(put_secret: Callable[[str, str], None]) -> None:
    put_secret("shop/arn", "token")
    arn = boto3.client("secretsmanager").describe_secret(SecretId="shop/arn")["ARN"]
    assert resolve(f"secretsmanager:{arn}") == "token"


def test_a_secret_is_read_once_and_anew_when_told(put_secret: Callable[[str, str], None]) -> None:
    put_secret("shop/rotated", "old")
    assert resolve("secretsmanager:shop/rotated") == "old"
    put_secret("shop/rotated", "new")
    assert resolve("secretsmanager:shop/rotated") == "old"
    assert resolve("secretsmanager:shop/rotated", anew=True) == "new"
    assert resolve("secretsmanager:shop/rotated") == "new"


@pytest.mark.parametrize(
    ("reference", "told"),
    [
        ("secretsmanager:shop/unknown", "shop/unknown cannot be read"),
        ("secretsmanager:shop/text#ipinfo", "shop/text is no JSON object"),
        ("secretsmanager:shop/json#other", "shop/json holds no other"),
        ("secretsmanager:shop/json", "shop/json holds no host and password"),
        ("secretsmanager:shop/broken", "shop/broken is no JSON object"),
    ],
)
def test_an_error_names_the_secret_and_nothing_it_holds(
    put_secret: Callable[[str, str], None], reference: str, told: str
) -> None:
    put_secret("shop/text", "hush-hush")
    put_secret("shop/json", '{"password": "hush-hush"}')
    put_secret("shop/broken", '{"password": "hush-hush"')
    with pytest.raises(SecretError, match=told) as caught:
        resolve(reference, "mysql")
    error: BaseException | None = caught.value
    while error:
        assert "hush-hush" not in repr(error)
        error = error.__cause__ or error.__context__
