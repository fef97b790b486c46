"""The shop's customers in MySQL (MariaDB locally, Aurora on AWS): who a user_id is."""

import ssl
from collections.abc import Collection, Iterator, Mapping
from contextlib import closing
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

import pymysql
from pymysql.constants import ER, FIELD_TYPE
from pymysql.converters import conversions
from pymysql.cursors import Cursor

from streaming.edges.secrets import SecretError, is_reference, resolve
from streaming.settings import ROOT

__all__ = ["Customer", "UsersDb", "connect", "migrate"]

_BEGINNING = datetime(1970, 1, 2, tzinfo=UTC)
# A row carries the time of its statement but is seen only after its commit, so a refresh looks back this far.
_LONGEST_TRANSACTION = timedelta(minutes=15)


class Customer(NamedTuple):
    """One row of `customers`. `price_per_click` in the shop's currency; `updated_at` UTC."""

    customer_id: int
    pixel_id: str
    name: str
    price_per_click: Decimal
    updated_at: datetime


class UsersDb:
    """Reads and writes `customers`. Each call opens its own connection, so a restarted server costs nothing later.

    Raises:
        ValueError: the URL is not `mysql://user:password@host:port/database`.
        pymysql.MySQLError: any call, when the server cannot be reached in time or refuses.
    """

    def __init__(self, url: str, connect_seconds: float = 3, read_seconds: float = 30) -> None:
        if not is_reference(url):
            _connection_options(url)
        self._url = url
        self._timeouts = {
            "connect_timeout": connect_seconds,
            "read_timeout": read_seconds,
            "write_timeout": read_seconds,
        }

    def changed_since(self, watermark: datetime | None, page_size: int = 5_000) -> Iterator[list[Customer]]:
        """Customers changed since `watermark` (None: all), oldest change first, a page at a time.

        Pages are cut by (updated_at, customer_id), so equal times are never skipped. Rows of the quarter of an hour
        before the watermark come again, for a transaction may have committed late: apply them idempotently.
        """
        statement = sql_statement("changed_since")
        after = max(watermark - _LONGEST_TRANSACTION, _BEGINNING) if watermark else _BEGINNING
        customer_id = 0
        with self._connect() as connection, connection.cursor() as cursor:
            while True:
                cursor.execute(
                    statement, {"updated_at": after.astimezone(UTC), "customer_id": customer_id, "limit": page_size}
                )
                page = [_customer(row) for row in cursor.fetchall()]
                if page:
                    yield page
                    after, customer_id = page[-1].updated_at, page[-1].customer_id
                if len(page) < page_size:
                    return

    def all_customers(self, page_size: int = 5_000) -> Iterator[Customer]:
        """Every customer by customer_id as they were at one moment, read a page at a time."""
        statement, customer_id = sql_statement("all_customers"), 0
        with self._connect() as connection, connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            while True:
                cursor.execute(statement, {"customer_id": customer_id, "limit": page_size})
                page = [_customer(row) for row in cursor.fetchall()]
                yield from page
                if len(page) < page_size:
                    return
                customer_id = page[-1].customer_id + 1

    def newest_customers(self, limit: int) -> list[Customer]:
        """The `limit` customers that changed last, newest first."""
        with self._connect() as connection, connection.cursor() as cursor:
            cursor.execute(sql_statement("newest_customers"), {"limit": limit})
            return [_customer(row) for row in cursor.fetchall()]

    def names(self, user_ids: Collection[str]) -> dict[str, str]:
        """Full name by user_id, of those that are customers. Ids are compared as text: '020' is not customer 20."""
        numbers = sorted({int(user_id) for user_id in user_ids if _is_customer_id(user_id)})
        if not numbers:
            return {}
        with self._connect() as connection, connection.cursor() as cursor:
            cursor.execute(sql_statement("names"), {"customer_ids": numbers})
            return {str(customer_id): name for customer_id, name in cursor.fetchall()}

    def add_customer(
        self, name: str, pixel_id: str, price_per_click: Decimal = Decimal(0), customer_id: int | None = None
    ) -> int:
        """Insert one customer and return the customer_id; an id that is taken raises `pymysql.IntegrityError`."""
        with self._connect() as connection, connection.cursor() as cursor:
            cursor.execute(
                sql_statement("add_customer"),
                {"customer_id": customer_id, "pixel_id": pixel_id, "name": name, "price_per_click": price_per_click},
            )
            connection.commit()
            return customer_id or int(cursor.lastrowid)

    def _connect(self) -> closing["pymysql.Connection[Cursor]"]:
        return closing(connect(self._url, **self._timeouts))


def connect(url: str, **options: Any) -> "pymysql.Connection[Cursor]":
    """Connect to the server at a URL, or where a secret says, which is read anew when the server refuses it.

    In the URL's query: `ssl_ca=FILE` for TLS that verifies the server's certificate and name by this authority,
    `ssl_mode=VERIFY_IDENTITY` by those that the system knows; `ssl_mode=REQUIRED` encrypts and verifies neither.

    Raises:
        ValueError: the URL is not `mysql://user:password@host:port/database`.
        OSError: `ssl_ca` is no file of certificates.
        pymysql.MySQLError: it cannot be reached or refuses, or the secret cannot be read.
    """
    try:
        try:
            return pymysql.connect(**_connection_options(resolve(url, "mysql")) | options)
        except pymysql.OperationalError as error:
            if error.args[0] != ER.ACCESS_DENIED_ERROR or not is_reference(url):
                raise
            return pymysql.connect(**_connection_options(resolve(url, "mysql", anew=True)) | options)
    except SecretError as error:
        raise pymysql.OperationalError(str(error)) from error


def migrate(mysql_url: str) -> None:
    """Create the database, its schema and, in an empty table, the demo customers. Safe to repeat."""
    database = _connection_options(resolve(mysql_url, "mysql"))["database"]
    with closing(connect(mysql_url, database=None)) as connection, connection.cursor() as cursor:
        quoted = "`" + database.replace("`", "``") + "`"
        cursor.execute(f"CREATE DATABASE IF NOT EXISTS {quoted} CHARACTER SET utf8mb4")
        connection.select_db(database)
        for name in ("schema", "seed"):
            cursor.execute(sql_statement(name))
        connection.commit()


def sql_statement(name: str) -> str:
    """A file of `sql/mysql`."""
    return (ROOT / "sql" / "mysql" / f"{name}.sql").read_text()


def _connection_options(url: str) -> dict[str, Any]:
    parts = urlsplit(url)
    database = parts.path.removeprefix("/")
    if parts.scheme != "mysql" or not parts.hostname or not database:
        raise ValueError("MYSQL_URL must be mysql://user:password@host:port/database")
    return {
        "host": parts.hostname,
        "port": parts.port or 3306,
        "user": unquote(parts.username or "root"),
        "password": unquote(parts.password or ""),
        "database": unquote(database),
        "charset": "utf8mb4",
        "conv": {**conversions, FIELD_TYPE.TIMESTAMP: datetime.fromisoformat},  # a quarter of what a scan takes
        "init_command": "SET time_zone = '+00:00'",
        **_tls_options(dict(parse_qsl(parts.query))),
    }


def _tls_options(parameters: Mapping[str, str]) -> dict[str, ssl.SSLContext]:
    match parameters:
        case {"ssl_ca": file}:
            return {"ssl": ssl.create_default_context(cafile=file)}
        case {"ssl_mode": "VERIFY_IDENTITY"}:
            return {"ssl": ssl.create_default_context()}
        case {"ssl_mode": "REQUIRED"}:
            unverified = ssl.create_default_context()
            unverified.check_hostname, unverified.verify_mode = False, ssl.CERT_NONE
            return {"ssl": unverified}
    if parameters:
        raise ValueError("MYSQL_URL takes ssl_ca=FILE, ssl_mode=VERIFY_IDENTITY or ssl_mode=REQUIRED after its ?")
    return {}


def _is_customer_id(user_id: str) -> bool:
    return user_id.isascii() and user_id.isdigit() and user_id[0] != "0" and len(user_id) < 19


def _customer(row: tuple[Any, ...]) -> Customer:
    customer_id, pixel_id, name, price_per_click, updated_at = row
    return Customer(customer_id, pixel_id, name, price_per_click, updated_at.replace(tzinfo=UTC))
