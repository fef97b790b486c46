"""Writing `latest_search_by_user`: one statement of Athena over the lake, Redis and MySQL, here run by DuckDB.

What Athena's connectors would read is fetched into files first. The lake's part of the statement is run before the
rest, for it names the users whom the cache is asked about: a page of them in each round trip.
"""

from collections.abc import Iterable, Iterator
from datetime import date
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import pymysql
import redis
import sqlglot
from sqlglot import exp

from clickstream_assets.aggregates.dependence import Dependence, FlattenedDays
from resources.lake import Lake, modified_at
from resources.warehouse import Source, Warehouse, sql_file
from streaming.domain.tables import FLATTENED_EVENTS, LATEST_SEARCH_BY_USER
from streaming.domain.timestamps import format_timestamp
from streaming.edges.user_cache import UserCache
from streaming.edges.users_db import UsersDb

REPORT_FILE = f"{LATEST_SEARCH_BY_USER.prefix}/{LATEST_SEARCH_BY_USER.name}.parquet"
STATEMENT = "athena/latest_search_by_user"
PAGE = 5_000

_USERS = pa.schema({"_key_": pa.string(), "last_access": pa.string(), "location": pa.string()})
_CUSTOMERS = pa.schema({"customer_id": pa.uint64(), "name": pa.string(), "price_per_click": pa.decimal128(10, 4)})


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
        searches, users, customers = (scratch / f"{name}.parquet" for name in ("searches", "users", "customers"))
        events = Source(FLATTENED_EVENTS, flattened.files(*_all_of(flattened)))
        warehouse.save(statement.searches, [], {"flattened_events": events}, searches, {})
        unavailable = Unavailable(
            _fetch(_cached_users(searches, user_cache), _USERS, users),
            _fetch(_customers(users_db), _CUSTOMERS, customers),
        )
        sources = {file.stem: Source(None, [file]) for file in (searches, users, customers)}
        with lake.publishing(REPORT_FILE, flattened.as_of(*_all_of(flattened))) as file:
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
    report = lake.path(REPORT_FILE)
    flattened = FlattenedDays(lake)
    sources = {
        "flattened_events": Source(FLATTENED_EVENTS, flattened.files(*_all_of(flattened))),
        LATEST_SEARCH_BY_USER.name: Source(LATEST_SEARCH_BY_USER, [report]),
    }
    (found,) = warehouse.select(sql_file("reports/users_astray"), [], sources).to_pylist()
    now = FlattenedDays(lake)  # looked at once more: nothing may have been flattened while they were compared
    return Astray(modified_at(report) == now.as_of(*_all_of(now)), **found)


def local_statement() -> LocalStatement:
    """The report's statement in DuckDB's dialect. A table goes by the last part of its name."""
    statement = sqlglot.parse_one(sql_file(STATEMENT), read="athena")
    for table in statement.find_all(exp.Table):
        table.set("db", None)
        table.set("catalog", None)
    of_lake = statement.find(exp.CTE).this
    searches = of_lake.sql("duckdb")
    of_lake.replace(exp.select("*").from_("searches"))
    return LocalStatement(searches, statement.sql("duckdb"))


def _all_of(flattened: FlattenedDays) -> tuple[Dependence, date]:
    return Dependence.HISTORY, max(flattened.days, default=date.min)


def _fetch(batches: Iterator[pa.RecordBatch], schema: pa.Schema, file: Path) -> str | None:
    """Write what a source gives. One that fails, wherever it has come to, gives nothing; returns why."""
    try:
        _write(batches, schema, file)
    except (redis.RedisError, pymysql.MySQLError, ValueError) as error:  # ValueError: somebody wrote what is no text
        _write((), schema, file)
        return f"{type(error).__name__}: {error}"
    return None


def _write(batches: Iterable[pa.RecordBatch], schema: pa.Schema, file: Path) -> None:
    with pq.ParquetWriter(file, schema) as writer:
        for batch in batches:
            writer.write_batch(batch)


def _cached_users(searches: Path, user_cache: UserCache) -> Iterator[pa.RecordBatch]:
    with pq.ParquetFile(searches) as rows:
        for batch in rows.iter_batches(PAGE, columns=["user_id"]):
            seen = user_cache.last_accesses(batch["user_id"].to_pylist())
            keys = [f"user:{user_id}" for user_id in seen]
            moments = [format_timestamp(moment) for moment, _ in seen.values()]
            yield pa.record_batch([keys, moments, [location for _, location in seen.values()]], schema=_USERS)


def _customers(users_db: UsersDb) -> Iterator[pa.RecordBatch]:
    customers = ((each.customer_id, each.name, each.price_per_click) for each in users_db.all_customers())
    while page := list(islice(customers, PAGE)):
        columns = [
            pa.array(column, field.type) for column, field in zip(zip(*page, strict=True), _CUSTOMERS, strict=True)
        ]
        yield pa.record_batch(columns, schema=_CUSTOMERS)
