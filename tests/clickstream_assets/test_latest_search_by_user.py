"""The federated report: the last Search of every user, joined with Redis and MySQL as they are, or as they are not."""

import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import dagster as dg
import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import redis
from hypothesis import given, settings
from hypothesis import strategies as st

from clickstream_assets.catalog import CATALOGUED
from clickstream_assets.jobs import REPORT
from clickstream_assets.reports.assets import SOURCES_CHECK
from clickstream_assets.reports.latest_search_by_user import refresh, users_astray
from resources.catalog import DuckDBCatalog
from resources.federation import DuckDBFederation
from resources.lake import DirectoryLake, partition_file
from resources.warehouse import DuckDBWarehouse
from streaming.domain.layout import hour_of
from streaming.domain.tables import FLATTENED_EVENTS, LATEST_SEARCH_BY_USER
from streaming.edges.lake import replaced
from streaming.edges.parquet import arrow_schema
from streaming.edges.user_cache import LastAccess, UserCache
from streaming.edges.users_db import UsersDb, migrate
from streaming.runtime.servers import LOOPBACK, mariadb_service
from streaming.runtime.supervisor import Supervisor
from tests.clickstream_assets.conftest import NOW
from tests.streaming.redis_server import RedisServer

HOUR = timedelta(hours=1)
CENTS = Decimal("0.2500")
Row = tuple[Any, ...]

REPORT_FILE = partition_file(LATEST_SEARCH_BY_USER, None)


class Acted(NamedTuple):
    """An event as far as the report looks at it."""

    user_id: str
    moment: datetime
    event_name: str = "Search"


def write_flattened(lake: DirectoryLake, events: Iterable[Acted]) -> None:
    """Flattened hours that hold these events, and no hour else."""
    rows = sorted(events, key=lambda event: event.moment)
    for hour, some in groupby(rows, key=lambda event: hour_of(event.moment)):
        table = [{"event_timestamp": moment, "user_id": user_id, "event_name": name} for user_id, moment, name in some]
        with replaced(lake.path(partition_file(FLATTENED_EVENTS, hour))) as file:
            pq.write_table(pa.Table.from_pylist(table, arrow_schema(FLATTENED_EVENTS)), file)


def report(lake: DirectoryLake) -> list[Row]:
    with pq.ParquetFile(lake.path(REPORT_FILE)) as file:  # opened once: a refresh may replace it meanwhile
        table = file.read()
    assert table.column_names == list(LATEST_SEARCH_BY_USER.column_names)
    return [tuple(row.values()) for row in table.to_pylist()]


def naive(moment: datetime) -> datetime:
    return moment.replace(tzinfo=None)


def seen(user_id: str, moment: datetime, location: str = "Riverside, California, US") -> LastAccess:
    return LastAccess(user_id, moment, "a" * 32, location)


def test_each_user_has_one_row_the_last_search_in_order_of_last_access(
    lake: DirectoryLake, warehouse: DuckDBWarehouse, cache: UserCache, shop: UsersDb
) -> None:
    long_ago = NOW - timedelta(days=400)
    write_flattened(
        lake,
        [
            Acted("20", long_ago),
            Acted("20", NOW - HOUR),
            Acted("20", NOW, "AddToCart"),
            Acted("35", NOW - 3 * HOUR),
            Acted("35", NOW - 3 * HOUR),  # two at one moment
            Acted("123456", NOW - 2 * HOUR),
            Acted("1234567", NOW - 5 * HOUR),
            Acted("020", NOW - 6 * HOUR),
            Acted("übung-世界", NOW - 7 * HOUR + timedelta(microseconds=123_456)),
            Acted("nowhere", NOW - 8 * HOUR),
            Acted("only-views", NOW, "ViewContent"),
        ],
    )
    shop.add_customer("Grace Hopper", "p1", CENTS, customer_id=123_456)
    shop.add_customer("Zoë 世", "p1", 2 * CENTS, customer_id=1_234_567)
    cache.put_last_access(
        [
            seen("20", NOW),
            seen("1234", NOW, "another's"),
            seen("123456", NOW - HOUR, "Zürich, CH"),
            seen("1234567", NOW - 2 * HOUR),
            seen("übung-世界", NOW - 3 * HOUR + timedelta(microseconds=1), ""),
            seen("not-in-the-lake", NOW),
        ]
    )
    cache.put_names({"35": "a name alone is no access"})

    assert refresh(lake, DuckDBFederation(warehouse, cache, shop)) == (None, None)

    customers = {customer.customer_id: customer for customer in shop.all_customers()}
    riverside = "Riverside, California, US"
    assert report(lake) == [
        ("20", "Semyon Ryan", riverside, "Search", naive(NOW - HOUR), naive(NOW), customers[20].price_per_click),
        ("123456", "Grace Hopper", "Zürich, CH", "Search", naive(NOW - 2 * HOUR), naive(NOW - HOUR), CENTS),
        ("1234567", "Zoë 世", riverside, "Search", naive(NOW - 5 * HOUR), naive(NOW - 2 * HOUR), 2 * CENTS),
        (
            "übung-世界", None, None, "Search", naive(NOW - 7 * HOUR + timedelta(microseconds=123_456)),
            naive(NOW - 3 * HOUR + timedelta(microseconds=1)), None,
        ),
        ("020", None, None, "Search", naive(NOW - 6 * HOUR), None, None),
        ("35", customers[35].name, None, "Search", naive(NOW - 3 * HOUR), None, customers[35].price_per_click),
        ("nowhere", None, None, "Search", naive(NOW - 8 * HOUR), None, None),
    ]  # fmt: skip


def test_without_events_it_is_empty_and_typed(
    lake: DirectoryLake, warehouse: DuckDBWarehouse, cache: UserCache, shop: UsersDb
) -> None:
    refresh(lake, DuckDBFederation(warehouse, cache, shop))
    assert report(lake) == []
    assert pq.read_schema(lake.path(REPORT_FILE)).types == arrow_schema(LATEST_SEARCH_BY_USER).types


def test_what_others_wrote_into_the_cache_costs_its_user_alone(
    lake: DirectoryLake, warehouse: DuckDBWarehouse, cache: UserCache, shop: UsersDb, cache_redis_url: str
) -> None:
    write_flattened(lake, [Acted(user_id, NOW) for user_id in ("20", "35", "36", "37")])
    cache.put_last_access([seen("20", NOW)])
    with redis.Redis.from_url(cache_redis_url) as client:
        client.set("user:35", "no hash")
        client.hset("user:36", "last_access", "yesterday")
        client.hset("user:37", "last_access", "2026-11-20 10:05:00")
    assert refresh(lake, DuckDBFederation(warehouse, cache, shop)).user_cache is None
    assert [(row[0], row[5]) for row in report(lake)] == [
        ("20", naive(NOW)), ("37", naive(NOW)), ("35", None), ("36", None),
    ]  # fmt: skip


_USERS = st.sampled_from(["1", "20", "35", "999", "1000", "1001", "020", "guest", "世"])
_MOMENTS = st.integers(0, 50).map(lambda tens: NOW - timedelta(minutes=10 * tens))


@settings(max_examples=20)
@given(
    events=st.lists(st.builds(Acted, _USERS, _MOMENTS, st.sampled_from(["Search", "Purchase"])), max_size=30),
    accesses=st.dictionaries(_USERS, _MOMENTS),
)
def test_any_events_and_accesses_give_what_plain_python_gives(
    tmp_path: Path,
    warehouse: DuckDBWarehouse,
    shop: UsersDb,
    cache_redis_url: str,
    events: list[Acted],
    accesses: dict[str, datetime],
) -> None:
    lake, cache = DirectoryLake(tmp_path / f"lake-{len(list(tmp_path.iterdir()))}"), UserCache(cache_redis_url)
    with redis.Redis.from_url(cache_redis_url) as client:
        client.flushall()
    write_flattened(lake, events)
    cache.put_last_access([seen(user_id, moment) for user_id, moment in accesses.items()])

    refresh(lake, DuckDBFederation(warehouse, cache, shop))

    customers = {str(customer.customer_id): customer for customer in shop.all_customers()}
    last = {e.user_id: e.moment for e in sorted(events, key=lambda e: e.moment) if e.event_name == "Search"}
    never = datetime.min.replace(tzinfo=UTC)
    by_access = sorted(sorted(last), key=lambda user: accesses.get(user, never), reverse=True)
    assert [(row[0], row[1], row[4], row[5], row[6]) for row in report(lake)] == [
        (
            user,
            customers[user].name if user in customers else None,
            naive(last[user]),
            naive(accesses[user]) if user in accesses else None,
            customers[user].price_per_click if user in customers else None,
        )
        for user in by_access
    ]


def test_many_pages_of_users(lake: DirectoryLake, warehouse: DuckDBWarehouse, cache: UserCache, shop: UsersDb) -> None:
    users = [str(number) for number in range(12_345)]
    write_flattened(lake, [Acted(user, NOW) for user in users])
    cache.put_last_access([seen(user, NOW - timedelta(seconds=int(user))) for user in users])
    refresh(lake, DuckDBFederation(warehouse, cache, shop))
    rows = report(lake)
    assert [row[0] for row in rows] == users
    assert {row[1] is None for row in rows[1_001:]} == {True}
    assert sum(row[1] is not None for row in rows) == 1_000


def test_equal_input_gives_equal_bytes(
    lake: DirectoryLake, warehouse: DuckDBWarehouse, tmp_path: Path, cache: UserCache, shop: UsersDb
) -> None:
    write_flattened(lake, [Acted(f"{number % 3_000}", NOW - timedelta(seconds=number)) for number in range(9_000)])
    cache.put_last_access([seen(str(user), NOW - timedelta(seconds=user % 5)) for user in range(2_000)])
    written = []
    for engine in (warehouse, DuckDBWarehouse(200_000_000, tmp_path / "one", 1)):
        refresh(lake, DuckDBFederation(engine, cache, shop))
        written.append(lake.path(REPORT_FILE).read_bytes())
    assert written[0] == written[1]


def test_readers_see_the_old_report_or_the_new_one(
    lake: DirectoryLake, warehouse: DuckDBWarehouse, cache: UserCache, shop: UsersDb
) -> None:
    write_flattened(lake, [Acted(str(user), NOW) for user in range(2_000)])
    refresh(lake, DuckDBFederation(warehouse, cache, shop))
    done = threading.Event()

    def read() -> set[int]:
        sizes = {len(report(lake))}
        while not done.is_set():
            sizes.add(len(report(lake)))
        return sizes

    with ThreadPoolExecutor() as pool:
        reader = pool.submit(read)
        try:
            write_flattened(lake, [Acted(str(user), NOW + HOUR) for user in range(2_000, 4_000)])
            for _ in range(3):
                refresh(lake, DuckDBFederation(warehouse, cache, shop))
        finally:
            done.set()
    assert reader.result() <= {2_000, 4_000}
    assert len(report(lake)) == 4_000


def test_a_refresh_that_fails_leaves_the_old_report_and_nothing_else(
    lake: DirectoryLake, warehouse: DuckDBWarehouse, cache: UserCache, shop: UsersDb
) -> None:
    write_flattened(lake, [Acted("20", NOW)])
    refresh(lake, DuckDBFederation(warehouse, cache, shop))
    before = lake.path(REPORT_FILE).read_bytes()
    lake.path(partition_file(FLATTENED_EVENTS, hour_of(NOW))).write_bytes(b"no Parquet")
    with pytest.raises(duckdb.Error):
        refresh(lake, DuckDBFederation(warehouse, cache, shop))
    assert lake.path(REPORT_FILE).read_bytes() == before
    assert [path.name for path in lake.root.rglob(".*")] == []
    assert [path.name for path in lake.path(REPORT_FILE).parent.iterdir()] == [Path(REPORT_FILE).name]


@pytest.mark.parametrize("fault", ["kill", "stop"])
def test_a_cache_that_is_down_or_hangs_costs_last_access_and_location(
    lake: DirectoryLake, warehouse: DuckDBWarehouse, shop: UsersDb, tmp_path: Path, fault: str
) -> None:
    write_flattened(lake, [Acted("20", NOW), Acted("35", NOW)])
    with RedisServer(tmp_path / "redis") as server:
        cache = UserCache(server.url)
        cache.put_last_access([seen("20", NOW), seen("35", NOW)])
        getattr(server, fault)()

        unavailable = refresh(lake, DuckDBFederation(warehouse, cache, shop))

        assert "Error" in str(unavailable.user_cache)
        assert unavailable.users_db is None
        assert [(row[0], row[2], row[5]) for row in report(lake)] == [("20", None, None), ("35", None, None)]
        assert all(row[1] and row[6] for row in report(lake))

        server.start() if fault == "kill" else server.resume()
        assert refresh(lake, DuckDBFederation(warehouse, cache, shop)) == (None, None)
        assert [row[5] for row in report(lake)] == [naive(NOW)] * 2


@pytest.mark.slow
def test_a_shop_that_is_down_costs_name_and_price(
    lake: DirectoryLake, warehouse: DuckDBWarehouse, cache: UserCache, tmp_path: Path, free_port: int
) -> None:
    write_flattened(lake, [Acted("20", NOW)])
    cache.put_last_access([seen("20", NOW)])
    url = f"mysql://root@{LOOPBACK}:{free_port}/shop"
    with Supervisor(tmp_path, print, stop_signals=()) as supervisor:
        supervisor.start(mariadb_service(tmp_path / "mariadb", free_port, print))
        migrate(url)
        assert refresh(lake, DuckDBFederation(warehouse, cache, UsersDb(url))) == (None, None)
        assert report(lake)[0][1] == "Semyon Ryan"

    unavailable = refresh(lake, DuckDBFederation(warehouse, cache, UsersDb(url)))

    assert "OperationalError" in str(unavailable.users_db)
    assert unavailable.user_cache is None
    assert [(row[0], row[1], row[5], row[6]) for row in report(lake)] == [("20", None, naive(NOW), None)]


def checks(result: dg.ExecuteInProcessResult) -> dict[str, bool]:
    return {each.check_name: each.passed for each in result.get_asset_check_evaluations()}


def test_the_asset_tells_what_it_found_and_is_a_table_of_the_catalog(
    definitions: dg.Definitions, instance: dg.DagsterInstance, lake: DirectoryLake, cache: UserCache, tmp_path: Path
) -> None:
    write_flattened(lake, [Acted("20", NOW), Acted("guest", NOW)])
    cache.put_last_access([seen("20", NOW)])

    result = definitions.resolve_job_def(REPORT).execute_in_process(instance=instance)

    assert checks(result) == {SOURCES_CHECK: True, "one_row_per_user_who_searched": True}
    (materialization,) = result.asset_materializations_for_node("latest_search_by_user")
    told = {name: value.value for name, value in materialization.metadata.items()}
    assert (told["dagster/row_count"], told["users_without_name"], told["users_without_last_access"]) == (2, 1, 1)
    assert "Semyon Ryan" in told["preview"]
    catalog = DuckDBCatalog(tmp_path / "test.duckdb", lake)
    catalog.refresh(CATALOGUED)
    with duckdb.connect(catalog.file, read_only=True) as connection:
        rows = connection.execute("SELECT * FROM latest_search_by_user").fetchall()
        assert [column[0] for column in connection.description] == list(LATEST_SEARCH_BY_USER.column_names)
    assert rows == report(lake)


def test_a_source_that_is_down_is_a_warning_with_its_reason(
    definitions: dg.Definitions, instance: dg.DagsterInstance, lake: DirectoryLake, free_port: int
) -> None:
    write_flattened(lake, [Acted("20", NOW)])
    definitions.resources["user_cache"] = UserCache(f"redis://{LOOPBACK}:{free_port}/0")

    result = definitions.resolve_job_def(REPORT).execute_in_process(instance=instance)

    verdicts = {each.check_name: each for each in result.get_asset_check_evaluations()}
    assert not verdicts[SOURCES_CHECK].passed
    assert verdicts[SOURCES_CHECK].severity is dg.AssetCheckSeverity.WARN
    assert "ConnectionError" in verdicts[SOURCES_CHECK].metadata["user_cache"].value
    (materialization,) = result.asset_materializations_for_node("latest_search_by_user")
    assert "ConnectionError" in materialization.metadata["unavailable"].value["user_cache"]
    assert verdicts["one_row_per_user_who_searched"].passed


def forge(lake: DirectoryLake, forged: str) -> None:
    """Put another report in the place of the right one, of the same date."""
    file = lake.path(REPORT_FILE)
    with duckdb.connect() as connection, replaced(lake.path(REPORT_FILE), file.stat().st_mtime_ns) as staged:
        connection.read_parquet(str(file)).create_view("report")
        connection.sql(forged).write_parquet(str(staged))


@pytest.mark.parametrize(
    ("forged", "fault"),
    [
        ("FROM report UNION ALL FROM report", "repeated_users"),
        ("FROM report WHERE user_id <> '20'", "missing_users"),
        ("FROM report UNION ALL BY NAME SELECT 'nobody' AS user_id", "unknown_users"),
        ("SELECT * REPLACE (last_search - INTERVAL 1 SECOND AS last_search) FROM report", "outdated_users"),
    ],
)
def test_the_check_finds_a_report_that_is_wrong(
    lake: DirectoryLake, warehouse: DuckDBWarehouse, cache: UserCache, shop: UsersDb, forged: str, fault: str
) -> None:
    write_flattened(lake, [Acted("20", NOW), Acted("35", NOW), Acted("36", NOW, "Purchase")])
    refresh(lake, DuckDBFederation(warehouse, cache, shop))
    assert users_astray(lake, warehouse) == (True, 0, 0, 0, 0)

    forge(lake, forged)

    astray = users_astray(lake, warehouse)
    assert astray.is_at_fault
    assert [name for name, users in astray._asdict().items() if name != "up_to_date" and users] == [fault]


def test_the_check_waits_for_the_next_report_where_events_were_flattened_since(
    lake: DirectoryLake, warehouse: DuckDBWarehouse, cache: UserCache, shop: UsersDb
) -> None:
    write_flattened(lake, [Acted("20", NOW)])
    refresh(lake, DuckDBFederation(warehouse, cache, shop))
    write_flattened(lake, [Acted("20", NOW + HOUR), Acted("35", NOW + HOUR)])
    astray = users_astray(lake, warehouse)
    assert astray == (False, 0, 1, 0, 1)
    assert not astray.is_at_fault
    refresh(lake, DuckDBFederation(warehouse, cache, shop))
    assert users_astray(lake, warehouse) == (True, 0, 0, 0, 0)
