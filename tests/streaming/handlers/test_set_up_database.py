"""The database of customers as Aurora gets it, on MariaDB with stand-ins for what Aurora alone has."""

import json
from collections.abc import Iterator
from contextlib import closing
from decimal import Decimal
from typing import Any
from urllib.parse import quote

import boto3
import pymysql
import pytest

from streaming.edges.user_cache import UserCache
from streaming.edges.users_db import UsersDb, connect
from streaming.handlers import data_update
from streaming.handlers.set_up_database import lambda_handler, set_up
from tests.aurora import as_aurora
from tests.streaming.cloudformation import CloudFormation

PASSWORD = "p@ss'w%rd"
FUNCTION = "arn:aws:lambda:eu-central-1:123456789012:function:clickstream-data-update"


@pytest.fixture
def aurora_url(mysql_url: str) -> Iterator[str]:
    """An empty database, on Aurora."""
    with as_aurora(mysql_url) as url:
        yield url
        rows(url, "DROP USER IF EXISTS reader@'%'")


def reader_url(url: str, password: str = PASSWORD) -> str:
    """Of the user whom functions and Dagster come as."""
    place = url.rpartition("@")[2].removeprefix("mysql://")
    return f"mysql://reader:{quote(password, safe='')}@{place}"


def secret(text: str) -> str:
    """The ARN of a secret with this text."""
    return str(boto3.client("secretsmanager").create_secret(Name="shop-mysql", SecretString=text)["ARN"])


def rows(url: str, statement: str) -> tuple[tuple[Any, ...], ...]:
    with closing(connect(url)) as connection, connection.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchall()


def sign_up(url: str, name: str) -> int:
    return UsersDb(url).add_customer(name, "pixel", Decimal("0.10"))


def test_a_sign_up_calls_the_function_with_the_user(aurora_url: str) -> None:
    set_up(aurora_url, reader_url(aurora_url), FUNCTION, demo=False)
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
    set_up(aurora_url, reader_url(aurora_url), FUNCTION, demo=False)
    user_id = str(sign_up(aurora_url, "Ada Lovelace"))
    ((payload,),) = rows(aurora_url, "SELECT payload FROM calls")
    assert data_update.lambda_handler(json.loads(payload), None) == {"updated": 1}
    assert UserCache(cache_redis_url).look_up([user_id], []).names == {user_id: "Ada Lovelace"}


def test_the_reader_reads_customers_and_does_no_more(aurora_url: str) -> None:
    set_up(aurora_url, reader_url(aurora_url), FUNCTION, demo=False)
    ada = sign_up(aurora_url, "Ada Lovelace")
    reader = UsersDb(reader_url(aurora_url))
    assert reader.names([str(ada)]) == {str(ada): "Ada Lovelace"}
    assert [each.customer_id for each in reader.all_customers()] == [ada]
    assert [[each.customer_id for each in page] for page in reader.changed_since(None)] == [[ada]]
    with pytest.raises(pymysql.OperationalError, match="INSERT command denied"):
        sign_up(reader_url(aurora_url), "Grace Hopper")
    for statement in ("DELETE FROM customers", "SELECT * FROM calls", "CREATE TABLE own (id INT)"):
        with pytest.raises(pymysql.OperationalError, match="command denied"):
            rows(reader_url(aurora_url), statement)


def test_the_reader_has_the_password_that_the_secret_has_now(aurora_url: str) -> None:
    set_up(aurora_url, reader_url(aurora_url, "before"), FUNCTION, demo=False)
    set_up(aurora_url, reader_url(aurora_url, "after"), FUNCTION, demo=False)
    assert rows(reader_url(aurora_url, "after"), "SELECT COUNT(*) FROM customers") == ((0,),)
    with pytest.raises(pymysql.OperationalError, match="Access denied"):
        rows(reader_url(aurora_url, "before"), "SELECT COUNT(*) FROM customers")


@pytest.mark.parametrize("demo", [False, True])
def test_it_can_be_repeated(aurora_url: str, demo: bool) -> None:
    for _ in range(2):
        set_up(aurora_url, reader_url(aurora_url), FUNCTION, demo=demo)
    sign_up(aurora_url, "Ada Lovelace")
    set_up(aurora_url, reader_url(aurora_url), f"{FUNCTION}:2", demo=demo)
    sign_up(aurora_url, "Grace Hopper")
    assert rows(aurora_url, "SELECT called FROM calls ORDER BY id") == ((FUNCTION,), (f"{FUNCTION}:2",))
    assert rows(aurora_url, "SELECT COUNT(*) FROM customers") == ((1002 if demo else 2,),)


def test_the_trigger_runs_with_the_role_that_calls_functions(aurora_url: str) -> None:
    """MySQL gives a trigger the default roles of its definer; MariaDB knows them, and has others do without."""
    set_up(aurora_url, reader_url(aurora_url), FUNCTION, demo=False)
    ((role, user),) = rows(
        aurora_url,
        "SELECT default_role, CONCAT(User, '@', Host) FROM mysql.user WHERE CONCAT(User, '@', Host) = CURRENT_USER()",
    )
    assert rows(aurora_url, "SELECT DEFINER FROM information_schema.TRIGGERS") == ((user,),)
    assert role == "AWS_LAMBDA_ACCESS"


def test_a_sign_up_holds_where_the_call_fails_and_says_why(aurora_url: str) -> None:
    set_up(aurora_url, reader_url(aurora_url), FUNCTION, demo=False)
    insert, error = "INSERT INTO customers (pixel_id, name) VALUES ('pixel', %s)", "SELECT @sign_up_error"
    with closing(connect(aurora_url, autocommit=True)) as connection, connection.cursor() as cursor:
        cursor.execute(insert, ("Ada Lovelace",))
        cursor.execute(error)
        assert cursor.fetchall() == ((None,),)
        cursor.execute("DROP FUNCTION lambda_async")
        cursor.execute(insert, ("Grace Hopper",))
        cursor.execute(error)
        ((reason,),) = cursor.fetchall()
    assert "lambda_async does not exist" in reason
    assert rows(aurora_url, "SELECT name FROM customers ORDER BY customer_id") == (("Ada Lovelace",), ("Grace Hopper",))


def test_cloudformation_is_told(
    aws: str, aurora_url: str, cloudformation: CloudFormation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MYSQL_URL", aurora_url)
    properties = {"SignUpFunction": FUNCTION, "DemoCustomers": "false", "Reader": secret(reader_url(aurora_url))}
    lambda_handler(cloudformation.event("Create", properties), None)
    assert cloudformation.answers[-1]["Status"] == "SUCCESS"
    sign_up(aurora_url, "Ada Lovelace")
    lambda_handler(cloudformation.event("Delete", properties), None)
    assert cloudformation.answers[-1]["Status"] == "SUCCESS"
    assert rows(aurora_url, "SELECT COUNT(*) FROM customers") == ((1,),), "deleting the stack deletes no customer"


def test_cloudformation_is_told_why_it_failed(
    aws: str, cloudformation: CloudFormation, monkeypatch: pytest.MonkeyPatch, free_port: int
) -> None:
    monkeypatch.setenv("MYSQL_URL", f"mysql://root:hidden@127.0.0.1:{free_port}/clickstream")
    properties = {"SignUpFunction": FUNCTION, "DemoCustomers": "false", "Reader": secret("mysql://reader@host/shop")}
    lambda_handler(cloudformation.event("Create", properties), None)
    assert cloudformation.answers[-1]["Status"] == "FAILED"
    assert pymysql.err.OperationalError.__name__ in cloudformation.answers[-1]["Reason"]
    assert "hidden" not in cloudformation.answers[-1]["Reason"]
