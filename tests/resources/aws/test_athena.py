"""The federated report by Athena is the one that DuckDB writes, and a source that is down costs it the same."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import boto3
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clickstream_assets.reports.latest_search_by_user import STATEMENT
from resources.aws import athena as resource
from resources.aws import statements as remote_statements
from resources.aws.athena import AthenaFederation
from resources.aws.statements import StatementError, StatementTimeoutError
from resources.federation import DuckDBFederation, Federation, Unavailable
from resources.lake import Staged
from resources.warehouse import DuckDBWarehouse, Source, sql_file
from streaming.domain.stack import Stack
from streaming.domain.tables import FLATTENED_EVENTS, LATEST_SEARCH_BY_USER
from streaming.edges.parquet import arrow_schema
from streaming.edges.user_cache import LastAccess, UserCache
from streaming.edges.users_db import UsersDb
from tests.aws_standins.athena import Athena as Service
from tests.aws_standins.published import BUCKET, DATABASE, create_bucket, publish

HOUR = datetime(2026, 11, 20, 10, tzinfo=UTC)
PREFIX = f"s3://{BUCKET}/reports/latest_search_by_user/attempt/"


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_statements, "FIRST_PAUSE_SECONDS", 0.01)


@pytest.fixture
def events() -> pa.Table:
    """Searches of 50 users, microseconds apart, and other actions later."""
    rows = [
        {
            "event_timestamp": HOUR.replace(tzinfo=None) + timedelta(microseconds=1_234_567 * number),
            "user_id": str(number % 50),
            "event_name": "Search" if number % 3 else "Purchase",
        }
        for number in range(400)
    ]
    return pa.Table.from_pylist(rows, arrow_schema(FLATTENED_EVENTS))


@pytest.fixture
def warehouse(tmp_path: Path) -> DuckDBWarehouse:
    return DuckDBWarehouse(200_000_000, tmp_path / ".duckdb")


@pytest.fixture
def statements(athena: Service) -> resource.Athena:
    create_bucket()
    return resource.Athena("clickstream", DATABASE, "run", 10)


@pytest.fixture
def federation(statements: resource.Athena, warehouse: DuckDBWarehouse, events: pa.Table) -> AthenaFederation:
    publish(FLATTENED_EVENTS, {HOUR: events})
    return AthenaFederation(statements, Stack("clickstream"), warehouse)


@pytest.fixture
def cache(cache_redis_url: str) -> UserCache:
    cache = UserCache(cache_redis_url)
    moments = (HOUR + timedelta(milliseconds=1001 * number) for number in range(40))
    cache.put_last_access(
        [LastAccess(str(n), moment, "a" * 32, "Riverside, CA, US" if n % 2 else "") for n, moment in enumerate(moments)]
    )
    return cache


class Answer:
    """What a federation saved, and what it says of its sources."""

    def __init__(self, federation: Federation, events: Source, folder: Path) -> None:
        scratch = folder / "scratch"
        scratch.mkdir(parents=True)
        file = Staged(folder / "report.parquet", PREFIX)
        table = LATEST_SEARCH_BY_USER
        self.unavailable = federation.save(sql_file(STATEMENT), events, table, file, scratch)
        self.table = pq.read_table(file.path)

    @property
    def rows(self) -> list[tuple[Any, ...]]:
        """The rows, moments to the millisecond."""
        return [tuple(_rounded(value) for value in row.values()) for row in self.table.to_pylist()]


def _rounded(value: object) -> object:
    return (
        value.replace(microsecond=0) + timedelta(milliseconds=round(value.microsecond / 1000))
        if isinstance(value, datetime)
        else value
    )


def left_behind() -> Iterator[str]:
    pages = boto3.client("s3").list_objects_v2(Bucket=BUCKET, Prefix="reports/")
    return (each["Key"] for each in pages.get("Contents", []))


def test_athena_and_duckdb_write_the_same_report(
    federation: AthenaFederation,
    warehouse: DuckDBWarehouse,
    cache: UserCache,
    mysql_url: str,
    events: pa.Table,
    athena: Service,
    tmp_path: Path,
) -> None:
    shop = UsersDb(mysql_url)
    shop.add_customer("Zoë 世", "p1", Decimal("0.2500"), customer_id=1_234)
    pq.write_table(events, tmp_path / "events.parquet")
    here = Source(FLATTENED_EVENTS, [tmp_path / "events.parquet"], (HOUR, HOUR))
    athena.part_rows = 7

    found = Answer(federation, here, tmp_path / "athena")

    expected = Answer(DuckDBFederation(warehouse, cache, shop), here, tmp_path / "duckdb")
    assert found.unavailable == expected.unavailable == Unavailable()
    assert found.rows == expected.rows
    assert len(found.rows) == 50
    assert found.table.schema.types == expected.table.schema.types
    assert list(left_behind()) == []


@pytest.mark.parametrize("down", [["user_cache"], ["users_db"], ["user_cache", "users_db"]])
def test_a_source_that_is_down_costs_its_columns(
    federation: AthenaFederation, cache: UserCache, athena: Service, free_port: int, tmp_path: Path, down: list[str]
) -> None:
    if "user_cache" in down:
        athena.redis_url = f"redis://127.0.0.1:{free_port}/0"
    if "users_db" in down:
        athena.mysql_url = f"mysql://root@127.0.0.1:{free_port}/shop"

    answer = Answer(federation, Source(FLATTENED_EVENTS, []), tmp_path / "athena")

    reasons = answer.unavailable._asdict()
    assert [role for role, reason in reasons.items() if reason] == down
    assert all("LambdaFunction" in reasons[role] for role in down)
    lost = {"user_cache": ("location", "last_access"), "users_db": ("name", "price_per_click")}
    empty = {column for role in down for column in lost[role]}
    assert {name for name in answer.table.column_names if answer.table[name].null_count == 50} == empty
    assert answer.table.schema.types == arrow_schema(LATEST_SEARCH_BY_USER).types
    assert list(left_behind()) == []


def test_without_searches_the_report_is_empty_and_typed(
    statements: resource.Athena, warehouse: DuckDBWarehouse, events: pa.Table, tmp_path: Path
) -> None:
    publish(FLATTENED_EVENTS, {HOUR: events.slice(0, 0)})
    federation = AthenaFederation(statements, Stack("clickstream"), warehouse)
    answer = Answer(federation, Source(FLATTENED_EVENTS, []), tmp_path / "athena")
    assert answer.rows == []
    assert answer.table.schema.types == arrow_schema(LATEST_SEARCH_BY_USER).types


def test_a_statement_that_fails_for_another_reason_fails_clearly(
    federation: AthenaFederation, athena: Service, tmp_path: Path
) -> None:
    athena.cutoff_bytes = 10
    with pytest.raises(StatementError, match=r"Athena: .*Bytes scanned limit was exceeded\nUNLOAD"):
        Answer(federation, Source(FLATTENED_EVENTS, []), tmp_path / "athena")
    assert list(left_behind()) == []


def test_a_statement_past_its_time_is_stopped_and_not_tried_again(
    athena: Service, warehouse: DuckDBWarehouse, statements: resource.Athena, tmp_path: Path
) -> None:
    athena.statements.slow_seconds = 30
    federation = AthenaFederation(resource.Athena("clickstream", DATABASE, "run", 0.2), Stack("clickstream"), warehouse)
    with pytest.raises(StatementTimeoutError):
        Answer(federation, Source(FLATTENED_EVENTS, []), tmp_path / "athena")
    assert [each.outcome for each in athena.statements.all] == ["cancelled"]


@pytest.mark.parametrize("fault", ["throttled", "broken", "lost"])
@pytest.mark.parametrize("operation", ["StartQueryExecution", "GetQueryExecution"])
def test_a_fault_is_outlived_and_the_statement_runs_once(
    statements: resource.Athena, athena: Service, operation: str, fault: str
) -> None:
    athena.fail(operation, fault)
    statements.run("SELECT 1 AS one")
    assert athena.calls.count(operation) >= 2
    assert len(athena.statements.all) == 1


def test_an_interrupted_wait_stops_the_statement(
    statements: resource.Athena, athena: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    athena.statements.slow_seconds = 30

    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(remote_statements.time, "sleep", interrupt)
    with pytest.raises(KeyboardInterrupt):
        statements.run("SELECT 1 AS one")
    assert [each.outcome for each in athena.statements.all] == ["cancelled"]


def test_a_statement_that_is_too_long_is_not_sent(statements: resource.Athena, athena: Service) -> None:
    with pytest.raises(StatementError, match="are more than a statement may have"):
        statements.run(f"SELECT '{'x' * 262_144}'")
    assert athena.statements.all == []


def test_without_a_prefix_on_s3_nothing_is_asked_of_athena(
    federation: AthenaFederation, athena: Service, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="no prefix"):
        federation.save(sql_file(STATEMENT), Source(None, []), LATEST_SEARCH_BY_USER, Staged(tmp_path / "x"), tmp_path)
    assert athena.calls == []
