"""A snapshot's version names what the names are."""

from contextlib import closing
from urllib.parse import urlsplit

import pymysql
import pytest

from resources.look_ups import SnapshotLookUps
from streaming.edges.geo.provider import NoGeo
from streaming.edges.look_ups import MissingName
from streaming.edges.users_db import UsersDb


def version(mysql_url: str) -> str:
    return SnapshotLookUps(UsersDb(mysql_url), NoGeo()).find((), ()).version


def change(mysql_url: str, statement: str) -> None:
    parts = urlsplit(mysql_url)
    with closing(
        pymysql.connect(host=parts.hostname, port=parts.port or 3306, user="root", database=parts.path[1:])
    ) as connection:
        connection.cursor().execute(statement)
        connection.commit()


def test_names_are_those_of_the_database(mysql_url: str) -> None:
    found = SnapshotLookUps(UsersDb(mysql_url), NoGeo()).find(["20", "020", "7001"], ())
    unknown = MissingName.UNKNOWN_USER
    assert found.names == {"20": "Semyon Ryan", "020": unknown, "7001": unknown}
    assert found.version.startswith("1/no-geo/users@")


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM customers WHERE customer_id = 20",
        "UPDATE customers SET name = 'Semyon R. Ryan', updated_at = updated_at WHERE customer_id = 20",
        "INSERT INTO customers (customer_id, pixel_id, name, updated_at) VALUES (7001, 'p', 'Ada', '2020-01-01')",
        "UPDATE customers SET customer_id = 7001, updated_at = updated_at WHERE customer_id = 20",
    ],
    ids=["deleted", "renamed within the same second", "added with an old date", "renumbered"],
)
def test_other_names_have_another_version(mysql_url: str, statement: str) -> None:
    before = version(mysql_url)
    change(mysql_url, statement)
    assert version(mysql_url) != before


def test_equal_names_have_an_equal_version(mysql_url: str) -> None:
    before = version(mysql_url)
    change(mysql_url, "UPDATE customers SET price_per_click = 7 WHERE customer_id = 20")
    assert version(mysql_url) == before
