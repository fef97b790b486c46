"""The federated report over lake, Redis and MySQL, against plain pandas: time, CPU and memory, and equal answers.

100,000 users. Of ten, one is no customer; of twenty, one is not in the cache. Each contender has a process of its own;
what the servers take is nobody's.
"""

import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import click
import duckdb
import pymysql
from rich.console import Console
from rich.table import Table

from bench._own_process import Measurement, as_json_of, measure
from bench.flatten import EVENTS
from clickstream_assets.reports.latest_search_by_user import refresh
from resources.federation import DuckDBFederation
from resources.lake import DirectoryLake, partition_file
from resources.warehouse import DuckDBWarehouse, connect, quoted
from streaming.domain.tables import DETAIL_COLUMNS, FLATTENED_EVENTS, LATEST_SEARCH_BY_USER
from streaming.edges.lake import replaced
from streaming.edges.user_cache import LastAccess, UserCache
from streaming.edges.users_db import UsersDb, migrate
from streaming.runtime.servers import LOOPBACK, free_port, mariadb_service, redis_service
from streaming.runtime.supervisor import Supervisor
from streaming.settings import load_settings

OURS = "one statement"
CONTENDERS = {
    OURS: "bench.federated:ours",
    "pandas, a round trip per user": "bench._plain_report:round_trips",
    "pandas, bulk reads and merges": "bench._plain_report:bulk_reads",
}
FIRST_HOUR = datetime(2026, 11, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
HOUR_EVENTS = 200_000
USERS = 100_000
PAGE = 10_000
COLUMNS = ("seconds", "CPU s", "s per million", "peak MB", "imports", "time", "CPU", "memory")
MOST_SECONDS = 3.0
MOST_BYTES = 300_000_000

_AS_FLATTENED = {
    "event_timestamp": "e.timestamp",
    # Of hashes of one number the low bits agree: each user would have one event name.
    "user_id": f"CAST(1 + hash(e.click_id) % {USERS} AS VARCHAR)",
    "event_name": f"['Search', 'ViewContent', 'AddToCart', 'Purchase'][(1 + hash(e.click_id) // {USERS} % 4)::INT]",
    **{column.name: f"e.additional_data.{column.name}" for column in DETAIL_COLUMNS},
}
_FLATTENED = ", ".join(f"{_AS_FLATTENED.get(name, f'e.{name}')} AS {name}" for name in FLATTENED_EVENTS.column_names)


class Sources(NamedTuple):
    """Where the report's sources are."""

    lake: Path
    cache_url: str
    mysql_url: str


def ours(lake: Path, cache_url: str, mysql_url: str, output: Path) -> None:
    """As the asset does; `output` becomes a link to its report."""
    warehouse = DuckDBWarehouse(load_settings({}).memory_limit_bytes, output.parent / "duckdb")
    unavailable = refresh(DirectoryLake(lake), DuckDBFederation(warehouse, UserCache(cache_url, 5), UsersDb(mysql_url)))
    if any(unavailable):
        raise RuntimeError(f"a source did not answer: {unavailable}")
    output.symlink_to(lake / partition_file(LATEST_SEARCH_BY_USER, None))


@contextmanager
def sources() -> Iterator[Sources]:
    """An empty lake, a private Redis with users and a private MariaDB with customers."""
    with tempfile.TemporaryDirectory(prefix="clickstream-bench-") as folder:
        home, cache_port, mysql_port = Path(folder), free_port(), free_port()
        with Supervisor(home, lambda _: None, stop_signals=()) as servers:
            servers.start(redis_service("cache-redis", home / "cache-redis", cache_port, "everysec"))
            servers.start(mariadb_service(home / "mariadb", mysql_port, click.echo))
            found = Sources(
                home / "lake", f"redis://{LOOPBACK}:{cache_port}/0", f"mysql://root@{LOOPBACK}:{mysql_port}/bench"
            )
            _fill_cache(UserCache(found.cache_url, 5))
            _fill_shop(found.mysql_url)
            yield found


def _fill_cache(cache: UserCache) -> None:
    for first in range(0, USERS, PAGE):
        cache.put_last_access(
            LastAccess(str(user), FIRST_HOUR + timedelta(seconds=user), f"{user:032x}", f"City {user % 2000}, US")
            for user in range(first, first + PAGE)
            if user % 20
        )


def _fill_shop(mysql_url: str) -> None:
    migrate(mysql_url)
    url = urlsplit(mysql_url)
    with closing(
        pymysql.connect(host=url.hostname, port=url.port or 3306, user="root", database="bench")
    ) as connection:
        connection.cursor().executemany(
            "REPLACE INTO customers (customer_id, pixel_id, name, price_per_click) VALUES (%s, %s, %s, %s)",
            [
                (user, f"p{user % 500:09d}", f"Customer {user}", user % 200 / 100)
                for user in range(1, USERS)
                if user % 10
            ],
        )
        connection.cursor().execute("DELETE FROM customers WHERE customer_id % 10 = 0")
        connection.commit()


def generate(lake: DirectoryLake, first: int, events: int) -> None:
    """Flattened hours with the events from `first` up to `events`."""
    with connect(config={"memory_limit": f"{load_settings({}).memory_limit_bytes}B"}) as connection:
        for start in range(first, events, HOUR_EVENTS):
            hour = FIRST_HOUR + start // HOUR_EVENTS * HOUR
            with replaced(lake.path(partition_file(FLATTENED_EVENTS, hour))) as file:
                connection.execute(
                    f"COPY (SELECT {_FLATTENED} FROM ({EVENTS}) e ORDER BY event_timestamp, click_id) "  # noqa: S608
                    f"TO {quoted(str(file))} (FORMAT parquet, COMPRESSION zstd)",
                    [hour.replace(tzinfo=None), start, min(start + HOUR_EVENTS, events)],
                )


def compare(found: Sources, plain: bool, rounds: int) -> dict[str, Measurement]:
    """What each contender takes for the same report: the quickest of some rounds, in which they take turns.

    Raises:
        click.ClickException: they do not give the same rows.
    """
    contenders = CONTENDERS if plain else {OURS: CONTENDERS[OURS]}
    taken: dict[str, list[Measurement]] = {name: [] for name in contenders}
    for _ in range(rounds):
        with tempfile.TemporaryDirectory(dir=found.lake.parent) as folder:
            reports = {name: Path(folder, f"{number}.parquet") for number, name in enumerate(contenders)}
            for name, work in contenders.items():
                taken[name].append(measure(work, *found, reports[name]))
                _check(reports[OURS], reports[name])
    return {name: min(each) for name, each in taken.items()}


def _check(one: Path, other: Path) -> None:
    with duckdb.connect() as connection:
        first, second = (connection.read_parquet(str(file)) for file in (one, other))
        differences = len(first.except_(second)) + len(second.except_(first))
        if differences or len(first) != len(second):
            raise click.ClickException(f"{len(first):,} and {len(second):,} rows, {differences:,} differ")


@click.command()
@click.option("--events", multiple=True, default=(1_000_000, 5_000_000), show_default=True, help="Events in the lake.")
@click.option("--rounds", default=3, show_default=True, help="Rounds, of which the quickest counts.")
@click.option("--most-plain-events", default=50_000_000, show_default=True, help="No pandas where there are more.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def main(events: tuple[int, ...], rounds: int, most_plain_events: int, as_json: bool) -> None:
    """The federated report, against plain pandas."""
    taken: dict[int, dict[str, Measurement]] = {}
    with sources() as found:
        before = 0
        for count in sorted(events):
            generate(DirectoryLake(found.lake), before, count)
            taken[count] = compare(found, plain=count <= most_plain_events, rounds=rounds)
            before = count
    if as_json:
        click.echo(as_json_of(taken))
        return
    for count, contenders in taken.items():
        table = Table(f"{count:,} events", *COLUMNS, box=None)
        for name, each in contenders.items():
            times_ours = (f"{value / ours:.1f}x" for value, ours in zip(each[:3], contenders[OURS][:3], strict=True))
            table.add_row(
                name, f"{each.seconds:.2f}", f"{each.cpu_seconds:.2f}", f"{each.seconds * 1e6 / count:.3f}",
                f"{each.peak_bytes / 1e6:.0f}", f"{each.idle_bytes / 1e6:.0f}", *times_ours,
            )  # fmt: skip
        Console(width=120).print(table)
    click.echo(f"at 5 million events at most {MOST_SECONDS:.0f} s and {MOST_BYTES / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
