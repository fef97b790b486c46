"""Federated queries: one statement of Athena over the lake, Redis and MySQL together. Here by DuckDB, on AWS by Athena.

What Athena's connectors would read, DuckDB is given in files. The lake's part of the statement is run before the rest,
for it names the users whom the cache is asked about: a page of them in each round trip.
"""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import dagster as dg
import msgspec
import pyarrow.parquet as pq
import pymysql
import redis
import sqlglot
from sqlglot import exp

from resources.lake import Staged
from resources.warehouse import Source, Warehouse
from streaming.domain.tables import FLATTENED_EVENTS, Column, Table
from streaming.edges.user_cache import UserCache
from streaming.edges.users_db import UsersDb

PAGE = 5_000

USERS = Table(
    "users",
    "",
    "json",
    None,
    "one row per hash `user:<id>`, as Athena's Redis connector shows them",
    (
        Column("_key_", "VARCHAR", "the hash's name"),
        Column("last_access", "VARCHAR", "event time of the user's last event", "UTC"),
        Column("location", "VARCHAR", "city, region and country of that event, empty where unknown"),
    ),
)
CUSTOMERS = Table(
    "customers",
    "",
    "json",
    None,
    "one row per customer, as Athena's MySQL connector shows them",
    (
        Column("customer_id", "BIGINT", "the user_id of events, as a number"),
        Column("name", "VARCHAR", "full name"),
        Column("price_per_click", "DECIMAL(10,4)", "what one click of this customer costs", "currency"),
    ),
)
_SEARCHES = "searches"

_encode = msgspec.json.Encoder().encode


class Unavailable(NamedTuple):
    """Why a source gave nothing, None where it answered."""

    user_cache: str | None = None
    users_db: str | None = None


class Federation(Protocol):
    """Runs a statement over flattened events, Redis and MySQL. A source that is down costs its columns."""

    def save(self, statement: str, events: Source, table: Table, file: Staged, scratch: Path) -> Unavailable:
        """Write the answer, in its order, to one Parquet file of the table's columns; returns what gave nothing.

        Args:
            scratch: a folder for what is written on the way.
        """


class LocalStatement(NamedTuple):
    """What the statement asks of the lake, and all of it with that answer, `searches`, in its place."""

    searches: str
    report: str


class DuckDBFederation:
    """DuckDB in process; Redis and MySQL are asked by clients of ours."""

    def __init__(self, warehouse: Warehouse, user_cache: UserCache, users_db: UsersDb) -> None:
        self._warehouse = warehouse
        self._user_cache = user_cache
        self._users_db = users_db

    def save(self, statement: str, events: Source, table: Table, file: Staged, scratch: Path) -> Unavailable:
        local = local_statement(statement)
        searches, users, customers = scratch / _SEARCHES, scratch / USERS.name, scratch / CUSTOMERS.name
        self._warehouse.save(local.searches, [], {FLATTENED_EVENTS.name: events}, searches, {})
        with ThreadPoolExecutor() as threads:
            fetched = (
                threads.submit(_fetch, _users(searches, self._user_cache), users),
                threads.submit(_fetch, _customers(self._users_db), customers),
            )
        unavailable = Unavailable(*(each.result() for each in fetched))
        sources = {
            _SEARCHES: Source(None, [searches]),
            USERS.name: Source(USERS, [users]),
            CUSTOMERS.name: Source(CUSTOMERS, [customers]),
        }
        self._warehouse.save(local.report, [], sources, file, {})
        return unavailable


@dg.resource(required_resource_keys={"warehouse", "user_cache", "users_db"})
def duckdb_federation(context: dg.InitResourceContext) -> DuckDBFederation:
    """The warehouse, the cache and the customers of the same deployment, joined by DuckDB."""
    edges = context.resources
    return DuckDBFederation(edges.warehouse, edges.user_cache, edges.users_db)


def local_statement(statement: str) -> LocalStatement:
    """A statement of Athena in DuckDB's dialect. A table goes by the last part of its name."""
    parsed = sqlglot.parse_one(statement, read="athena")
    for table in parsed.find_all(exp.Table):
        table.set("db", None)
        table.set("catalog", None)
    of_lake = next(cte.this for cte in parsed.find_all(exp.CTE) if cte.alias == "s3")
    searches = of_lake.sql("duckdb")
    of_lake.replace(exp.select("*").from_(_SEARCHES))
    return LocalStatement(searches, parsed.sql("duckdb"))


def _fetch(rows: Iterator[Mapping[str, Any]], file: Path) -> str | None:
    """Write what a source gives as JSON lines. One that fails, wherever it has come to, gives nothing; returns why."""
    try:
        with file.open("wb") as lines:
            for row in rows:
                lines.write(_encode(row) + b"\n")
    except (redis.RedisError, pymysql.MySQLError, ValueError) as error:  # ValueError: somebody wrote what is no text
        file.write_bytes(b"")
        return f"{type(error).__name__}: {error}"
    return None


def _users(searches: Path, user_cache: UserCache) -> Iterator[Mapping[str, Any]]:
    with pq.ParquetFile(searches) as users:
        for page in users.iter_batches(PAGE, columns=["user_id"]):
            for user_id, (moment, location) in user_cache.last_accesses(page["user_id"].to_pylist()).items():
                yield {"_key_": f"user:{user_id}", "last_access": moment, "location": location}


def _customers(users_db: UsersDb) -> Iterator[Mapping[str, Any]]:
    for each in users_db.all_customers():
        yield {"customer_id": each.customer_id, "name": each.name, "price_per_click": each.price_per_click}
