from contextlib import closing
from datetime import UTC, datetime

import pymysql
import pytest
import redis

from streaming.edges.user_cache import LastAccess, UserCache
from streaming.edges.users_db import UsersDb, _connection_options
from streaming.handlers.data_update import lambda_handler

pytestmark = pytest.mark.usefixtures("deployment")


def test_the_first_refresh_loads_everyone(cache_redis_url: str) -> None:
    # when
    answer = lambda_handler({"source": "aws.events", "detail-type": "Scheduled Event", "detail": {}}, None)
    # then
    assert answer["updated"] == 1000
    cached = UserCache(cache_redis_url).look_up(["20", "1000"], [])
    assert cached.names["20"] == "Semyon Ryan"
    assert len(cached.names) == 2
    assert cached.watermark == answer["watermark"]


def test_a_refresh_carries_what_changed(cache_redis_url: str, mysql_url: str) -> None:
    # given
    before = lambda_handler({}, None)
    added = str(UsersDb(mysql_url).add_customer("Mei Park", "pixel"))
    # when
    after = lambda_handler({}, None)
    # then
    assert after["watermark"] > before["watermark"]
    assert UserCache(cache_redis_url).look_up([added], []).names == {added: "Mei Park"}


def test_a_row_dated_ahead_does_not_hide_later_changes(cache_redis_url: str, mysql_url: str) -> None:
    # given
    with closing(pymysql.connect(**_connection_options(mysql_url))) as connection:
        connection.cursor().execute("UPDATE customers SET updated_at = '2037-01-01' WHERE customer_id = 1")
        connection.commit()
    lambda_handler({}, None)
    added = str(UsersDb(mysql_url).add_customer("Mei Park", "pixel"))
    # when
    lambda_handler({}, None)
    # then
    assert UserCache(cache_redis_url).look_up([added], []).names == {added: "Mei Park"}


def test_a_sign_up_updates_that_user_only(cache_redis_url: str) -> None:
    assert lambda_handler({"user_id": "20"}, None) == {"updated": 1}
    cached = UserCache(cache_redis_url).look_up(["20", "35"], [])
    assert (cached.names, cached.watermark) == ({"20": "Semyon Ryan"}, None)


@pytest.mark.parametrize("user_id", ["99999", "nobody", "x' OR 1=1 --"])
def test_a_user_who_is_no_customer_has_no_name(cache_redis_url: str, user_id: str) -> None:
    # given
    UserCache(cache_redis_url).put_names({user_id: "Left Long Ago"})
    # when
    assert lambda_handler({"user_id": user_id}, None) == {"updated": 0}
    # then
    assert UserCache(cache_redis_url).look_up([user_id], []).names == {}


def test_a_wiped_cache_is_filled_anew(cache_redis_url: str) -> None:
    lambda_handler({}, None)
    with redis.Redis.from_url(cache_redis_url) as client:
        client.flushall()
    assert lambda_handler({}, None)["updated"] == 1000


def change(mysql_url: str, *statements: str) -> None:
    with closing(pymysql.connect(**_connection_options(mysql_url))) as connection:
        for statement in statements:
            connection.cursor().execute(statement)
        connection.commit()


def test_a_full_refresh_finds_what_no_watermark_tells(cache_redis_url: str, mysql_url: str) -> None:
    # given
    lambda_handler({}, None)
    change(
        mysql_url,
        "DELETE FROM customers WHERE customer_id = 20",
        "UPDATE customers SET name = 'Committed Late', updated_at = '2020-01-01' WHERE customer_id = 35",
    )
    lambda_handler({}, None)
    cache = UserCache(cache_redis_url)
    assert cache.look_up(["20", "35"], []).names == {"20": "Semyon Ryan", "35": "Beatriz Abbott"}
    # when
    answer = lambda_handler({"full": True}, None)
    # then
    assert (answer["updated"], answer["removed"]) == (999, 1)
    assert cache.look_up(["20", "35"], []).names == {"35": "Committed Late"}
    assert lambda_handler({"full": True}, None)["removed"] == 0


def test_a_full_refresh_keeps_last_access(cache_redis_url: str) -> None:
    # given
    cache = UserCache(cache_redis_url)
    seen = datetime(2026, 11, 23, tzinfo=UTC)
    cache.put_last_access([LastAccess("nobody", seen, "0" * 32, "")])
    # when
    lambda_handler({"full": True}, None)
    # then
    assert cache.last_accesses(["nobody"]) == {"nobody": (seen, "")}
