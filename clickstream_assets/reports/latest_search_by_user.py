"""Writing `latest_search_by_user`: one statement of Athena over the lake, Redis and MySQL, here run by DuckDB.

What Athena's connectors would read is fetched into files first. The lake's part of the statement is run before the
rest, for it names the users whom the cache is asked about: a page of them in each round trip.
"""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pyarrow.parquet as pq
import pymysql
import redis
import sqlglot
from sqlglot import exp

from clickstream_assets.aggregates.dependence import Dependence, FlattenedDays
from resources.lake import Lake, written_partition
from resources.warehouse import Source, Warehouse, sql_file
from streaming.domain.tables import FLATTENED_EVENTS, LATEST_SEARCH_BY_USER, Column, Table
from streaming.edges.user_cache import UserCache
from streaming.edges.users_db import UsersDb

STATEMENT = "athena/latest_search_by_user"
PAGE = 5_000

_SEARCHES = "searches"
_USERS = Table(
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
_CUSTOMERS = Table(
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

_encode = msgspec.json.Encoder().encode


class Unavailable(NamedTuple):
    """Why a source gave nothing, None where it answered."""

    user_cache: str | None
    users_db: str | None


class LocalStatement(NamedTuple):
    """What the statement asks of the lake, and all of it with that answer, `searches`, in its place."""

    searches: str
    report: str


def refresh(lake: Lake, warehouse: Warehouse, user_cache: UserCache, users_db: UsersDb) -> Unavailable:
    """Write the report from all that is flattened, and from Redis and MySQL as they are now.

    It is dated by what is flattened. A source that is down costs its columns: they are null, also where an earlier
    report had values.
    """
    flattened = FlattenedDays(lake)
    statement = local_statement()
    with lake.scratch() as scratch:
        searches, users, customers = scratch / "searches", scratch / "users", scratch / "customers"
        events = flattened.source(*_all_of(flattened))
        warehouse.save(statement.searches, [], {FLATTENED_EVENTS.name: events}, searches, {})
        with ThreadPoolExecutor() as threads:
            fetched = (
                threads.submit(_fetch, _users(searches, user_cache), users),
                threads.submit(_fetch, _customers(users_db), customers),
            )
        unavailable = Unavailable(*(each.result() for each in fetched))
        sources = {
            _SEARCHES: Source(None, [searches]),
            _USERS.name: Source(_USERS, [users]),
            _CUSTOMERS.name: Source(_CUSTOMERS, [customers]),
        }
        with lake.publishing(LATEST_SEARCH_BY_USER, None, flattened.as_of(*_all_of(flattened))) as file:
            warehouse.save(statement.report, [], sources, file, {})
    return unavailable


class Astray(NamedTuple):
    """How many users the report has wrong; `up_to_date`: nothing was flattened since it was written.

    Before it is up to date again, only a user who stands in it more than once is a fault.
    """

    up_to_date: bool
    repeated_users: int
    missing_users: int
    unknown_users: int
    outdated_users: int

    @property
    def is_at_fault(self) -> bool:
        """Whether the report is other than what it was made from."""
        return any(self[1:]) if self.up_to_date else self.repeated_users > 0


def users_astray(lake: Lake, warehouse: Warehouse) -> Astray:
    """Hold the report against flattened events as they are now."""
    flattened = FlattenedDays(lake)
    sources = {
        "flattened_events": flattened.source(*_all_of(flattened)),
        LATEST_SEARCH_BY_USER.name: Source(
            LATEST_SEARCH_BY_USER, [written_partition(lake, LATEST_SEARCH_BY_USER, None)]
        ),
    }
    (found,) = warehouse.select(sql_file("reports/users_astray"), [], sources).to_pylist()
    now = FlattenedDays(lake)  # looked at once more: nothing may have been flattened while they were compared
    return Astray(lake.as_of(LATEST_SEARCH_BY_USER, None) == now.as_of(*_all_of(now)), **found)


def local_statement() -> LocalStatement:
    """The report's statement in DuckDB's dialect. A table goes by the last part of its name."""
    statement = sqlglot.parse_one(sql_file(STATEMENT), read="athena")
    for table in statement.find_all(exp.Table):
        table.set("db", None)
        table.set("catalog", None)
    of_lake = next(cte.this for cte in statement.find_all(exp.CTE) if cte.alias == "s3")
    searches = of_lake.sql("duckdb")
    of_lake.replace(exp.select("*").from_(_SEARCHES))
    return LocalStatement(searches, statement.sql("duckdb"))


def _all_of(flattened: FlattenedDays) -> tuple[Dependence, date]:
    return Dependence.HISTORY, max(flattened.days, default=date.min)


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
