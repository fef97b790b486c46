import socket
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pymysql
import pytest

from streaming.edges.users_db import UsersDb, migrate

NOW = datetime(2026, 11, 23, 4, 5, 6, 789012, tzinfo=UTC)


@pytest.fixture
def users_db(mysql_url: str) -> UsersDb:
    return UsersDb(mysql_url)


def execute(users_db: UsersDb, statement: str, *parameters: object) -> None:
    with users_db._connect() as connection, connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        connection.commit()


def changed_ids(users_db: UsersDb, watermark: datetime | None, page_size: int = 5_000) -> list[int]:
    return [customer.customer_id for page in users_db.changed_since(watermark, page_size) for customer in page]


def test_a_thousand_demo_customers_among_them_the_articles(users_db: UsersDb) -> None:
    customers = {customer.customer_id: customer for customer in users_db.all_customers()}
    assert list(customers) == list(range(1, 1001))
    assert (customers[20].name, customers[20].pixel_id) == ("Semyon Ryan", "fytil06mrm")
    assert customers[35].pixel_id == "wjgao4w1oi"
    assert len({customer.name for customer in customers.values()}) == 1000
    assert len({customer.pixel_id for customer in customers.values()}) == 1000
    assert all(Decimal(0) < customer.price_per_click < 3 for customer in customers.values())


@pytest.mark.parametrize("page_size", [1, 3, 999, 1000, 1001])
def test_all_customers_are_read_in_pages_as_they_were_at_one_moment(users_db: UsersDb, page_size: int) -> None:
    execute(users_db, "DELETE FROM customers WHERE customer_id MOD 2 = 0")
    reading = users_db.all_customers(page_size)
    found = [next(reading)]
    execute(users_db, "DELETE FROM customers WHERE customer_id > %s", 10)
    execute(users_db, "UPDATE customers SET name = %s", "Changed")
    found += reading
    assert [customer.customer_id for customer in found] == list(range(1, 1000, 2))
    assert "Changed" not in {customer.name for customer in found}


def test_a_connection_that_is_lost_while_customers_are_read_is_an_error_of_mysql(users_db: UsersDb) -> None:
    reading = users_db.all_customers(10)
    next(reading)
    with users_db._connect() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT id FROM information_schema.processlist WHERE db = DATABASE() AND id <> CONNECTION_ID()")
        ((reader,),) = cursor.fetchall()
        cursor.execute(f"KILL {reader}")
    with pytest.raises(pymysql.MySQLError):
        list(reading)


def test_migrating_again_changes_nothing(users_db: UsersDb, mysql_url: str) -> None:
    before = list(users_db.all_customers())
    migrate(mysql_url)
    assert list(users_db.all_customers()) == before


def test_a_shops_own_customers_get_no_demo_ones_among_them(users_db: UsersDb, mysql_url: str) -> None:
    execute(users_db, "DELETE FROM customers WHERE customer_id <> 7")
    migrate(mysql_url)
    assert changed_ids(users_db, None) == [7]


@pytest.mark.parametrize("page_size", [1, 3, 7, 999, 1000, 1001])
def test_pages_skip_none_of_equal_times(users_db: UsersDb, page_size: int) -> None:
    execute(users_db, "DELETE FROM customers WHERE customer_id > 20")
    execute(users_db, "UPDATE customers SET updated_at = %s", NOW.replace(tzinfo=None))
    assert changed_ids(users_db, None, page_size) == list(range(1, 21))


def test_a_change_that_was_committed_late_is_seen(users_db: UsersDb) -> None:
    execute(users_db, "UPDATE customers SET updated_at = %s", (NOW - timedelta(hours=1)).replace(tzinfo=None))
    with users_db._connect() as slow, slow.cursor() as cursor:
        cursor.execute("UPDATE customers SET updated_at = %s WHERE customer_id = 1", (NOW.replace(tzinfo=None),))
        execute(
            users_db,
            "UPDATE customers SET updated_at = %s WHERE customer_id = 2",
            (NOW + timedelta(minutes=5)).replace(tzinfo=None),
        )
        watermark = max(customer.updated_at for customer in users_db.all_customers())
        assert changed_ids(users_db, watermark) == [2]
        slow.commit()
    assert changed_ids(users_db, watermark) == [1, 2]


def test_times_are_utc_whatever_zone_the_shop_writes_in(users_db: UsersDb) -> None:
    with users_db._connect() as connection, connection.cursor() as cursor:
        cursor.execute("SET time_zone = '+09:00'")
        cursor.execute("UPDATE customers SET name = 'Moved' WHERE customer_id = 1")
        connection.commit()
    (newest,) = users_db.newest_customers(1)
    assert newest.name == "Moved"
    assert abs(datetime.now(UTC) - newest.updated_at) < timedelta(minutes=1)


def test_names_compare_ids_as_text(users_db: UsersDb) -> None:
    names = users_db.names(["20", "020", " 20", "20.0", "²", "x' OR 1=1", "", "99999999999999999999", "35"])
    assert names == {"20": "Semyon Ryan", "35": "Beatriz Abbott"}
    assert users_db.names([]) == {}


def test_adding_a_customer(users_db: UsersDb) -> None:
    added = users_db.add_customer("Zoë O'Hara", "pixel", Decimal("0.25"))
    assert users_db.names([str(added)]) == {str(added): "Zoë O'Hara"}
    assert users_db.add_customer("Mei Park", "pixel", customer_id=5000) == 5000
    with pytest.raises(pymysql.IntegrityError):
        users_db.add_customer("Somebody Else", "pixel", customer_id=20)


@pytest.mark.parametrize("url", ["", "redis://127.0.0.1:3306/shop", "mysql:///shop", "mysql://127.0.0.1"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="mysql://"):
        UsersDb(url)


def test_a_silent_server_costs_the_timeout() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        users_db = UsersDb(f"mysql://root@127.0.0.1:{silent.getsockname()[1]}/shop", read_seconds=0.3)
        started = time.monotonic()
        with pytest.raises(pymysql.MySQLError):
            users_db.names(["20"])
        assert time.monotonic() - started < 5


def test_a_server_that_is_slow_costs_the_timeout(users_db: UsersDb, mysql_url: str) -> None:
    impatient = UsersDb(mysql_url, read_seconds=0.3)
    with users_db._connect() as writer, writer.cursor() as cursor:
        cursor.execute("LOCK TABLES customers WRITE")
        started = time.monotonic()
        with pytest.raises(pymysql.MySQLError):
            list(impatient.changed_since(None))
        assert time.monotonic() - started < 5
