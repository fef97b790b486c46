"""What Redshift unloads takes its place in the lake on S3 in one step, or leaves what was there."""

import subprocess
import sys
import threading
import time
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import boto3
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clickstream_assets.aggregates.dependence import FlattenedDays
from clickstream_assets.aggregates.registry import AGGREGATES
from clickstream_assets.aggregates.unload import is_unloaded, unload
from resources.aws.glue.tables import table_input
from resources.aws.redshift import RedshiftData, RedshiftWarehouse
from resources.aws.s3.lake import S3Lake, open_s3_lake
from resources.aws.statements import StatementError
from resources.lake import written_partition
from streaming.domain.tables import FLATTENED_EVENTS
from streaming.edges.parquet import arrow_schema
from streaming.settings import ROOT
from tests.aws_standins.published import BUCKET, DATABASE, create_bucket
from tests.aws_standins.redshift import RedshiftData as Service
from tests.aws_standins.statements import Statement

DAY = date(2026, 11, 20)
HOUR = datetime(2026, 11, 20, 10, tzinfo=UTC)
BY_COUNTRY = next(aggregate for aggregate in AGGREGATES if aggregate.name == "events_by_country")


@pytest.fixture
def lake(aws: str, tmp_path: Path) -> S3Lake:
    create_bucket()
    for table in (FLATTENED_EVENTS, BY_COUNTRY.table):
        described = table_input(table, f"s3://{BUCKET}")
        boto3.client("glue").create_table(DatabaseName=DATABASE, TableInput=described)
    return open_s3_lake(BUCKET, DATABASE, tmp_path / "copies", 100_000_000)


@pytest.fixture
def warehouse(redshift_data: Service, tmp_path: Path) -> RedshiftWarehouse:
    return RedshiftWarehouse(RedshiftData("clickstream", "run", 30), 200_000_000, tmp_path / ".duckdb")


def flatten(lake: S3Lake, hour: datetime, *countries: str) -> None:
    rows = [
        {"event_timestamp": hour.replace(tzinfo=None), "event_name": "Search", "country": country}
        for country in countries
    ]
    with lake.publishing(FLATTENED_EVENTS, hour) as file:
        pq.write_table(pa.Table.from_pylist(rows, arrow_schema(FLATTENED_EVENTS)), file.path)


def unloaded(lake: S3Lake, warehouse: RedshiftWarehouse) -> int:
    return unload(BY_COUNTRY, DAY, FlattenedDays(lake), lake, warehouse)


def text(lake: S3Lake) -> str:
    file = written_partition(lake, BY_COUNTRY.table, DAY)  # its path holds as long as it is referred to
    return Path(file).read_text()


def test_a_day_is_unloaded_and_unloaded_anew(lake: S3Lake, warehouse: RedshiftWarehouse) -> None:
    flatten(lake, HOUR, "US", "US", "GB")
    assert unloaded(lake, warehouse) == 2
    assert text(lake) == "country|event_name|events\nGB|Search|1\nUS|Search|2\n"
    assert is_unloaded(BY_COUNTRY, DAY, FlattenedDays(lake), lake)

    flatten(lake, HOUR, "US")
    flatten(lake, HOUR + timedelta(hours=1), "US")
    assert not is_unloaded(BY_COUNTRY, DAY, FlattenedDays(lake), lake)
    assert unloaded(lake, warehouse) == 1
    assert text(lake) == "country|event_name|events\nUS|Search|2\n"


@pytest.mark.parametrize("containing", ["UNLOAD", "rows_astray"])
def test_a_statement_that_fails_leaves_the_day_as_it_was(
    lake: S3Lake, warehouse: RedshiftWarehouse, redshift_data: Service, tmp_path: Path, containing: str
) -> None:
    flatten(lake, HOUR, "US")
    unloaded(lake, warehouse)
    before = text(lake)
    flatten(lake, HOUR, "GB")
    redshift_data.statements.fail(containing, "out of slots")
    another = RedshiftWarehouse(RedshiftData("clickstream", "run 2", 30), 200_000_000, tmp_path / ".duckdb")
    with pytest.raises(StatementError, match="out of slots"):
        unloaded(lake, another)
    assert text(lake) == before

    third = RedshiftWarehouse(RedshiftData("clickstream", "run 3", 30), 200_000_000, tmp_path / ".duckdb")
    assert unloaded(lake, third) == 1
    assert "GB|Search|1" in text(lake)


def test_a_lost_answer_runs_nothing_twice(lake: S3Lake, warehouse: RedshiftWarehouse, redshift_data: Service) -> None:
    flatten(lake, HOUR, "US")
    redshift_data.fail("ExecuteStatement", "lost", "lost", "lost")
    assert unloaded(lake, warehouse) == 1
    texts = [statement.text for statement in redshift_data.statements.all]
    assert len(texts) == len(set(texts)) == 3


def unload_day(folder: str, run: str) -> None:
    """What a process of its own does: unload DAY."""
    lake = open_s3_lake(BUCKET, DATABASE, Path(folder, "copies"), 100_000_000)
    redshift = RedshiftData("clickstream", run, 60)
    unloaded(lake, RedshiftWarehouse(redshift, 200_000_000, Path(folder, ".duckdb")))


def test_a_run_that_is_killed_leaves_the_day_as_it_was_and_the_next_one_completes(
    lake: S3Lake, warehouse: RedshiftWarehouse, redshift_data: Service, tmp_path: Path
) -> None:
    flatten(lake, HOUR, "US")
    unloaded(lake, warehouse)
    before = text(lake)
    flatten(lake, HOUR, "GB")
    redshift_data.statements.slow_seconds = 0.5
    script = f"from {__name__} import unload_day; unload_day({str(tmp_path / 'killed')!r}, 'killed')"
    with subprocess.Popen([sys.executable, "-c", script], cwd=ROOT) as process:
        statement = last_unload(redshift_data, process)
        process.kill()
    while statement.outcome is None:  # Redshift goes on alone
        time.sleep(0.05)
    assert statement.outcome == "finished"
    assert text(lake) == before

    redshift_data.statements.slow_seconds = 0
    unload_day(str(tmp_path / "next"), "next")
    assert text(lake) == "country|event_name|events\nGB|Search|1\n"


def last_unload(redshift_data: Service, process: "subprocess.Popen[bytes]") -> Statement:
    """The UNLOAD that a process has begun."""
    known = len(redshift_data.statements.all)
    while process.poll() is None:
        for statement in redshift_data.statements.all[known:]:
            if statement.text.startswith("UNLOAD"):
                return statement
        time.sleep(0.02)
    raise AssertionError("the process ended before its UNLOAD")


def test_of_two_runs_at_once_one_wins(lake: S3Lake, redshift_data: Service, tmp_path: Path) -> None:
    flatten(lake, HOUR, "US", "GB")
    redshift_data.statements.slow_seconds = 0.3
    threads = [threading.Thread(target=unload_day, args=[str(tmp_path / run), run]) for run in ("one", "two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert text(lake) == "country|event_name|events\nGB|Search|1\nUS|Search|1\n"
    assert sum(each.text.startswith("UNLOAD") for each in redshift_data.statements.all) == 2
