"""The federated report in plain pandas: by a round trip per user, and by bulk reads and merges."""

from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import pandas as pd
import pymysql
import redis

LAST_ACCESS = ["last_access", "location"]
COLUMNS = ["user_id", "name", "location", "event_name", "last_search", "last_access", "price_per_click"]


def round_trips(lake: Path, cache_url: str, mysql_url: str, output: Path) -> None:
    """One HMGET and one SELECT for each user."""
    report = _searches(lake)
    with redis.Redis.from_url(cache_url, decode_responses=True) as client, _connection(mysql_url) as connection:
        seen = [client.hmget(f"user:{user_id}", LAST_ACCESS) for user_id in report["user_id"]]
        with connection.cursor() as cursor:
            customers = [_customer(cursor, user_id) for user_id in report["user_id"]]
    report[LAST_ACCESS] = pd.DataFrame(seen, index=report.index)
    report[["name", "price_per_click"]] = pd.DataFrame(customers, index=report.index)
    _write(report, output)


def bulk_reads(lake: Path, cache_url: str, mysql_url: str, output: Path) -> None:
    """One pipeline for all users, one SELECT of all customers, and two merges."""
    report = _searches(lake)
    with (
        redis.Redis.from_url(cache_url, decode_responses=True) as client,
        client.pipeline(transaction=False) as pipeline,
    ):
        for user_id in report["user_id"]:
            pipeline.hmget(f"user:{user_id}", LAST_ACCESS)
        seen = pd.DataFrame(pipeline.execute(), columns=LAST_ACCESS)
    with _connection(mysql_url) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT CAST(customer_id AS CHAR), name, price_per_click FROM customers")
        customers = pd.DataFrame(cursor.fetchall(), columns=["user_id", "name", "price_per_click"])
    seen["user_id"] = report["user_id"]
    _write(report.merge(seen, on="user_id", how="left").merge(customers, on="user_id", how="left"), output)


def _searches(lake: Path) -> pd.DataFrame:
    events = pd.read_parquet(lake / "flattened", columns=["user_id", "event_name", "event_timestamp"])
    searches = events[events["event_name"] == "Search"].rename(columns={"event_timestamp": "last_search"})
    return searches.groupby(["user_id", "event_name"], as_index=False).agg({"last_search": "max"})


def _customer(cursor: pymysql.cursors.Cursor, user_id: str) -> tuple[object, ...]:
    cursor.execute("SELECT name, price_per_click FROM customers WHERE customer_id = %s", (user_id,))
    return cursor.fetchone() or (None, None)


def _connection(mysql_url: str) -> closing["pymysql.Connection[pymysql.cursors.Cursor]"]:
    url = urlsplit(mysql_url)
    database = url.path.removeprefix("/")
    return closing(pymysql.connect(host=url.hostname, port=url.port or 3306, user="root", database=database))


def _write(report: pd.DataFrame, output: Path) -> None:
    report["last_access"] = pd.to_datetime(report["last_access"], utc=True).dt.tz_localize(None)
    ordered = report.sort_values(["last_access", "user_id"], ascending=[False, True], na_position="last")
    ordered[COLUMNS].to_parquet(output, index=False)
