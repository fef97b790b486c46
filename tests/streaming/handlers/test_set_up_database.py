"""The database of customers as Aurora gets it, on MariaDB with stand-ins for what Aurora alone has."""

import json
from collections.abc import Iterator
from contextlib import closing
from decimal import Decimal
from typing import Any

import pymysql
import pytest

from streaming.edges.user_cache import UserCache
from streaming.edges.users_db import UsersDb, connect
from streaming.handlers import data_update
from streaming.handlers.set_up_database import lambda_handler, set_up
from tests.aurora import as_aurora
from tests.streaming.cloudformation import CloudFormation

FUNCTION = "arn:aws:lambda:eu-central-1:123456789012:function:clickstream-data-update"


@pytest.fixture
def aurora_url(mysql_url: str) -> Iterator[str]:
    """An empty database, on Aurora."""
    with as_aurora(mysql_url) as url:
        yield url


def rows(url: str, statement: str) -> tuple[tuple[Any, ...], ...]:
    with closing(connect(url)) as connection, connection.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchall()


def sign_up(url: str, name: str) -> int:
    return UsersDb(url).add_customer(name, "pixel", Decimal("0.10"))


def test_a_sign_up_calls_the_function_with_the_user(aurora_url: str) -> None:
    set_up(aurora_url, FUNCTION, demo=False)
    ada, grace = sign_up(aurora_url, "Ada Lovelace"), sign_up(aurora_url, "Grace Hopper")
    assert rows(aurora_url, "SELECT called, JSON_VALUE(payload, '$.user_id') FROM calls ORDER BY id") == (
        (FUNCTION, str(ada)),
        (FUNCTION, str(grace)),
    )
    assert rows(aurora_url, "SELECT DISTINCT JSON_TYPE(JSON_EXTRACT(payload, '$.user_id')) FROM calls") == (
        ("STRING",),
    )


def test_what_the_trigger_sends_is_what_the_function_takes(
    aurora_url: str, cache_redis_url: str, deployment: None
) -> None:
    set_up(aurora_url, FUNCTION, demo=False)
    user_id = str(sign_up(aurora_url, "Ada Lovelace"))
    ((payload,),) = rows(aurora_url, "SELECT payload FROM calls")
    assert data_update.lambda_handler(json.loads(payload), None) == {"updated": 1}
    assert UserCache(cache_redis_url).look_up([user_id], []).names == {user_id: "Ada Lovelace"}


@pytest.mark.parametrize("demo", [False, True])
def test_it_can_be_repeated(aurora_url: str, demo: bool) -> None:
    for _ in range(2):
        set_up(aurora_url, FUNCTION, demo=demo)
    sign_up(aurora_url, "Ada Lovelace")
    set_up(aurora_url, f"{FUNCTION}:2", demo=demo)
    sign_up(aurora_url, "Grace Hopper")
    assert rows(aurora_url, "SELECT called FROM calls ORDER BY id") == ((FUNCTION,), (f"{FUNCTION}:2",))
    assert rows(aurora_url, "SELECT COUNT(*) FROM customers") == ((1002 if demo else 2,),)


def test_a_sign_up_holds_where_the_call_fails(aurora_url: str) -> None:
    set_up(aurora_url, FUNCTION, demo=False)
    rows(aurora_url, "DROP FUNCTION lambda_async")
    user_id = sign_up(aurora_url, "Ada Lovelace")
    assert UsersDb(aurora_url).names([str(user_id)]) == {str(user_id): "Ada Lovelace"}


def test_cloudformation_is_told(
    aurora_url: str, cloudformation: CloudFormation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MYSQL_URL", aurora_url)
    properties = {"SignUpFunction": FUNCTION, "DemoCustomers": "false"}
    lambda_handler(cloudformation.event("Create", properties), None)
    assert cloudformation.answers[-1]["Status"] == "SUCCESS"
    sign_up(aurora_url, "Ada Lovelace")
    lambda_handler(cloudformation.event("Delete", properties), None)
    assert cloudformation.answers[-1]["Status"] == "SUCCESS"
    assert rows(aurora_url, "SELECT COUNT(*) FROM customers") == ((1,),), "deleting the stack deletes no customer"


def test_cloudformation_is_told_why_it_failed(
    cloudformation: CloudFormation, monkeypatch: pytest.MonkeyPatch, free_port: int
) -> None:
    monkeypatch.setenv("MYSQL_URL", f"mysql://root:hidden@127.0.0.1:{free_port}/clickstream")
    lambda_handler(cloudformation.event("Create", {"SignUpFunction": FUNCTION, "DemoCustomers": "false"}), None)
    assert cloudformation.answers[-1]["Status"] == "FAILED"
    assert pymysql.err.OperationalError.__name__ in cloudformation.answers[-1]["Reason"]
    assert "hidden" not in cloudformation.answers[-1]["Reason"]
