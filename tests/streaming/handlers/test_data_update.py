from contextlib import closing

import pymysql
import pytest
import redis

from streaming.edges.user_cache import UserCache
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
