"""MariaDB behind TLS, and with a password that is kept, and rotated, in Secrets Manager."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pymysql
import pytest

from streaming.edges.users_db import UsersDb, connect, migrate
from streaming.runtime.servers import free_port, mariadb_service
from streaming.runtime.supervisor import Supervisor
from tests.streaming.tls import LOOPBACK, Authority


class Shop(NamedTuple):
    """A MariaDB that speaks TLS, with a user `shop` whose password is `old`, and who signed its certificate."""

    port: int
    authority: Authority

    def url(self, query: str = "", user: str = "shop:old") -> str:
        return f"mysql://{user}@{LOOPBACK}:{self.port}/clickstream{query}"

    def administer(self, statement: str) -> None:
        with closing(connect(self.url(user="root"))) as connection:
            connection.cursor().execute(statement)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    home = tmp_path_factory.mktemp("mariadb")
    authority, port = Authority(home, "authority"), free_port()
    service = mariadb_service(home / "data", port, lambda text: print(text, file=sys.stderr))
    certificate, key = authority.issue()
    options = [f"--ssl-cert={certificate}", f"--ssl-key={key}", f"--ssl-ca={authority.file}"]
    with Supervisor(home, print, stop_signals=()) as supervisor:
        supervisor.start(replace(service, command=[*service.command, *options]))
        shop = Shop(port, authority)
        migrate(shop.url(user="root"))
        shop.administer("CREATE USER shop REQUIRE SSL")
        shop.administer("GRANT ALL ON clickstream.* TO shop")
        yield shop


@pytest.fixture
def shop(server: Shop) -> Shop:
    server.administer("ALTER USER shop IDENTIFIED BY 'old'")
    return server


def cipher(url: str) -> str:
    with closing(connect(url)) as connection, connection.cursor() as cursor:
        cursor.execute("SHOW STATUS LIKE 'Ssl_cipher'")
        return str(cursor.fetchall()[0][1])


def test_the_certificate_is_verified_by_the_authority_that_is_named(shop: Shop) -> None:
    url = shop.url(f"?ssl_ca={shop.authority.file}")
    assert cipher(url)
    assert UsersDb(url).names(["20"]) == {"20": "Semyon Ryan"}


def test_required_encrypts(shop: Shop) -> None:
    assert cipher(shop.url("?ssl_mode=REQUIRED"))


def test_a_server_of_another_authority_is_refused(shop: Shop, tmp_path: Path) -> None:
    other = Authority(tmp_path, "other")
    for query in (f"?ssl_ca={other.file}", "?ssl_mode=VERIFY_IDENTITY"):
        with pytest.raises(pymysql.OperationalError, match="CERTIFICATE_VERIFY_FAILED"):
            UsersDb(shop.url(query)).names(["20"])


def test_a_server_of_another_name_is_refused(shop: Shop) -> None:
    url = shop.url(f"?ssl_ca={shop.authority.file}").replace(LOOPBACK, "127.0.0.2")
    with pytest.raises(pymysql.OperationalError):
        UsersDb(url).names(["20"])


def test_a_server_without_tls_is_refused(mysql_url: str) -> None:
    with pytest.raises(pymysql.OperationalError, match="SSL is required"):
        UsersDb(f"{mysql_url}?ssl_mode=REQUIRED").names(["20"])


@pytest.mark.parametrize("query", ["?ssl=yes", "?ssl_mode=PREFERRED"])
def test_a_query_that_is_not_understood_is_refused(query: str) -> None:
    with pytest.raises(ValueError, match="ssl_mode=REQUIRED"):
        UsersDb(f"mysql://root@{LOOPBACK}/shop{query}")


def test_a_rotated_password_is_read_anew(shop: Shop, put_secret: Callable[[str, str], None]) -> None:
    def keep(password: str) -> None:
        place = {"host": LOOPBACK, "port": shop.port, "dbname": "clickstream"}
        put_secret("aurora", json.dumps(place | {"username": "shop", "password": password}))

    keep("old")
    users_db = UsersDb(f"secretsmanager:aurora?ssl_ca={shop.authority.file}")
    assert users_db.names(["20"]) == {"20": "Semyon Ryan"}
    shop.administer("ALTER USER shop IDENTIFIED BY 'new'")
    with pytest.raises(pymysql.OperationalError, match="Access denied") as caught:
        users_db.names(["20"])
    assert "old" not in str(caught.value)
    keep("new")
    assert users_db.names(["20"]) == {"20": "Semyon Ryan"}


def test_a_secret_that_cannot_be_read_is_an_error_of_mysql(put_secret: Callable[[str, str], None]) -> None:
    put_secret("another", "secret")
    with pytest.raises(pymysql.OperationalError, match="the secret aurora cannot be read"):
        UsersDb("secretsmanager:aurora").names(["20"])
