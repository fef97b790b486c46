"""The article's statements of Redshift: each file is one that runs, and UNLOAD has the article's options."""

import re
from datetime import UTC, datetime
from pathlib import Path

import boto3
import duckdb
import pyarrow as pa
import pytest

from resources.aws.redshift import RedshiftData
from resources.aws.redshift_sql import rows_astray, unload
from resources.warehouse import DuckDBWarehouse, Source, sql_file
from streaming.domain.tables import FLATTENED_EVENTS
from streaming.edges.parquet import arrow_schema, parquet_bytes
from streaming.settings import ROOT
from tests.aws_standins.published import create_bucket, publish
from tests.aws_standins.redshift import RedshiftData as Service

HOUR = datetime(2026, 11, 20, 10, tzinfo=UTC)
ARTICLE = """
unload ('SELECT "country", "event_name", count(*) FROM spectrum_schema."2021" GROUP BY "country", "event_name" ORDER BY "country";')
to 's3://ait-aggregation/events_by_country/'
iam_role 'arn:aws:iam::394*******63:role/RedShiftSpectrumRole'
CSV
DELIMITER AS '|'
header
parallel off;
"""  # noqa: E501


def options(unload: str) -> list[str]:
    """What stands behind the role, a line each."""
    return re.split(r"iam_role [^\n]+\n", unload.strip().rstrip(";").lower())[1].splitlines()


@pytest.mark.parametrize(
    "statement", [sql_file("spectrum/unload_events_by_country"), unload("SELECT 1 AS one", "s3://bucket/a/")]
)
def test_unload_has_the_articles_options(statement: str) -> None:
    assert options(statement)[:4] == options(ARTICLE)


def test_the_files_run_as_they_are(redshift_data: Service) -> None:
    create_bucket()
    boto3.client("s3").create_bucket(Bucket="ait-aggregation")
    rows = [
        {"event_timestamp": HOUR.replace(tzinfo=None), "event_name": name, "country": country}
        for name, country in [("Search", "US"), ("Search", "US"), ("Purchase", "GB"), ("Search", None)]
    ]
    publish(FLATTENED_EVENTS, {HOUR: pa.Table.from_pylist(rows, arrow_schema(FLATTENED_EVENTS))})
    redshift = RedshiftData("clickstream", "run", 10)

    redshift.run(sql_file("spectrum/create_external_schema"))
    assert sorted(redshift.rows(sql_file("spectrum/events_by_type"))) == [("Purchase", 1), ("Search", 3)]
    redshift.run(sql_file("spectrum/unload_events_by_country"))
    of_hour = Source(FLATTENED_EVENTS, [], (HOUR, HOUR))
    assert list(redshift.rows(rows_astray(of_hour, HOUR))) == [(0,)]

    body = boto3.client("s3").get_object(Bucket="ait-aggregation", Key="events_by_country/000")["Body"].read().decode()
    assert body == "country|event_name|events\nGB|Purchase|1\nUS|Search|2\n|Search|1\n"
    assert {file.stem for file in (ROOT / "sql" / "spectrum").glob("*.sql")} == {
        "create_external_schema", "events_by_type", "rows_astray", "unload_events_by_country",
    }  # fmt: skip


def test_files_say_in_the_old_way_too_that_moments_are_microseconds(tmp_path: Path) -> None:
    """Spectrum reads a whole number without that as another moment, and no row is of the day that is asked for."""
    rows = pa.Table.from_pylist([{"event_timestamp": HOUR.replace(tzinfo=None)}], arrow_schema(FLATTENED_EVENTS))
    here, there = tmp_path / "arrow.parquet", tmp_path / "duckdb.parquet"
    here.write_bytes(parquet_bytes(rows))
    source = {"events": Source(None, [here])}
    DuckDBWarehouse(200_000_000, tmp_path / ".duckdb").save("SELECT * FROM events", [], source, there, {})
    for file in (here, there):
        schema = f"SELECT converted_type FROM parquet_schema('{file}') WHERE name = 'event_timestamp'"
        assert duckdb.sql(schema).fetchall() == [("TIMESTAMP_MICROS",)]
