"""What Redshift unloads is what DuckDB unloads: of every aggregate, from the partitions that it is made from alone."""

import csv
import random
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from io import StringIO
from pathlib import Path
from typing import Any

import boto3
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from clickstream_assets.aggregates.dependence import Dependence
from clickstream_assets.aggregates.registry import AGGREGATES, Aggregate
from clickstream_assets.aggregates.unload import bounds
from resources.aws.redshift import RedshiftData, RedshiftWarehouse
from resources.aws.statements import StatementError
from resources.lake import Staged
from resources.warehouse import DuckDBWarehouse, Source, Sources, sql_file
from streaming.domain.layout import hour_of
from streaming.domain.tables import CUSTOMER_PRICES, FLATTENED_EVENTS, Column, Table
from streaming.edges.parquet import arrow_schema
from tests.aws_proxy import AwsProxy, Faults, break_off
from tests.aws_standins.published import BUCKET, create_bucket, publish
from tests.aws_standins.redshift import RedshiftData as Service
from tests.clickstream_assets.aggregates import DETAILS
from tests.resources.test_warehouse import COLUMNS, TEXTS

DAY = date(2026, 12, 1)  # the day before is of another month
EVENTS = 3_000
SPANS = {
    Dependence.DAY: (0, 0), Dependence.NEIGHBOURS: (-1, 1), Dependence.MONTH: (-29, 0), Dependence.HISTORY: (-400, 0),
}  # fmt: skip
Hours = Mapping[datetime, pa.Table]


@pytest.fixture(scope="module")
def hours() -> Hours:
    """Flattened hours with odd values, most of them around DAY."""
    dice = random.Random(5)
    rows: dict[datetime, list[dict[str, Any]]] = {}
    for number in range(EVENTS):
        moment = datetime(DAY.year, DAY.month, DAY.day, tzinfo=UTC) + timedelta(
            days=dice.choice([*[0] * 20, *[-1, 1] * 5, -2, 2, -6, -7, -29, -30, -45, -390]),
            minutes=dice.choice([0, 0.5, 29.99999, 59.99999, 60, 300, 301, 700, 1439.99999]),
        )
        chosen = {column: dice.choice(values) for column, values in DETAILS.items()}
        chosen["user_id"] = dice.choice([*DETAILS["user_id"], *map(str, range(200))])
        place = dict(zip(("country", "region", "city", "latitude", "longitude"), chosen.pop("place"), strict=True))
        event = {**chosen, **place, "event_timestamp": moment.replace(tzinfo=None), "click_id": str(number)}
        rows.setdefault(hour_of(moment), []).append(event)
    schema = arrow_schema(FLATTENED_EVENTS)
    return {hour: pa.Table.from_pylist(rows[hour], schema) for hour in sorted(rows)}


@pytest.fixture
def prices() -> pa.Table:
    return pa.table([[7, 20, 35], [Decimal("0.5000"), None, Decimal("1.2500")]], arrow_schema(CUSTOMER_PRICES))


@pytest.fixture
def redshift(redshift_data: Service, tmp_path: Path) -> RedshiftWarehouse:
    create_bucket()
    return RedshiftWarehouse(RedshiftData("clickstream", "run", 30), 200_000_000, tmp_path / ".duckdb")


def span(aggregate: Aggregate, hours: Hours) -> list[datetime]:
    before, after = SPANS[aggregate.depends_on]
    return [hour for hour in hours if before <= (hour.date() - DAY).days <= after]


def sources(aggregate: Aggregate, hours: Hours, prices: pa.Table, folder: Path) -> Sources:
    """What an aggregate reads, as files for DuckDB and as partitions for Redshift."""
    wanted = span(aggregate, hours)
    files = []
    for hour in wanted:
        files.append(folder / f"{hour:%Y%m%d%H}.parquet")
        pq.write_table(hours[hour], files[-1])
    found = {FLATTENED_EVENTS.name: Source(FLATTENED_EVENTS, files, (wanted[0], wanted[-1]))}
    if aggregate.also_reads:
        day = folder / f"date={DAY}" / "prices.parquet"
        day.parent.mkdir()
        pq.write_table(prices, day)
        found[CUSTOMER_PRICES.name] = Source(CUSTOMER_PRICES, [day], (DAY, DAY))
    return found


def objects(prefix: str) -> dict[str, str]:
    """Names and texts of what lies in a folder of the lake."""
    s3, folder = boto3.client("s3"), prefix.removeprefix(f"s3://{BUCKET}/")
    listed = s3.list_objects_v2(Bucket=BUCKET, Prefix=folder).get("Contents", [])
    return {
        each["Key"].removeprefix(folder): s3.get_object(Bucket=BUCKET, Key=each["Key"])["Body"].read().decode()
        for each in listed
    }


def rows(text: str, table: Table) -> list[list[Any]]:
    """The rows of a file, as values that compare; its header is the table's columns."""
    header, *found = csv.reader(StringIO(text), delimiter="|")
    assert header == list(table.column_names)
    return [[_value(cell, column) for cell, column in zip(row, table.columns, strict=True)] for row in found]


def _value(cell: str, column: Column) -> Any:
    if not cell or column.type not in ("DOUBLE", "TIMESTAMP"):
        return cell
    return pytest.approx(float(cell), rel=1e-14) if column.type == "DOUBLE" else datetime.fromisoformat(cell)


@pytest.mark.parametrize("aggregate", AGGREGATES, ids=lambda aggregate: aggregate.name)
def test_redshift_unloads_what_duckdb_does(
    aggregate: Aggregate,
    hours: Hours,
    prices: pa.Table,
    redshift: RedshiftWarehouse,
    redshift_data: Service,
    tmp_path: Path,
) -> None:
    publish(FLATTENED_EVENTS, hours)
    publish(CUSTOMER_PRICES, {DAY - timedelta(days=1): prices, DAY: prices})
    read = sources(aggregate, hours, prices, tmp_path)
    statement, here = sql_file(aggregate.statement), tmp_path / "here.csv"
    expected = DuckDBWarehouse(200_000_000, tmp_path / ".duckdb").unload(
        statement, bounds(DAY), read, here, aggregate.table
    )
    prefix = f"s3://{BUCKET}/{aggregate.table.prefix}/date={DAY}/attempt/"

    found = redshift.unload(statement, bounds(DAY), read, Staged(tmp_path / "untouched", prefix), aggregate.table)

    assert found == expected > 0
    (unloaded,) = objects(prefix).values()
    assert rows(unloaded, aggregate.table) == rows(here.read_text(), aggregate.table)
    assert not (tmp_path / "untouched").exists()
    scans = {scan.table: scan.partitions for scan in redshift_data.tables.scans}
    scanned = {datetime(*map(int, each), tzinfo=UTC) for each in scans["flattened_events"]}
    match aggregate.depends_on:
        case Dependence.DAY:
            assert scanned == set(span(aggregate, hours))
        case Dependence.NEIGHBOURS | Dependence.MONTH:
            assert set(span(aggregate, hours)) <= scanned < set(hours)
        case Dependence.HISTORY:
            assert set(span(aggregate, hours)) <= scanned
    assert scans.get("customer_prices", [(str(DAY),)]) == [(str(DAY),)]


EVENTS_BY_COUNTRY = next(aggregate for aggregate in AGGREGATES if aggregate.name == "events_by_country")
TEXT_TABLE = Table("texts", "aggregated/texts", "csv", "day", "one row per text", COLUMNS)
KEPT = Table("kept", "kept", "parquet", None, "one row per text", COLUMNS)


def test_an_answer_in_parts_is_whole_and_each_part_has_a_header(
    hours: Hours, prices: pa.Table, redshift: RedshiftWarehouse, redshift_data: Service, tmp_path: Path
) -> None:
    publish(FLATTENED_EVENTS, hours)
    redshift_data.part_bytes = 60
    table, prefix = EVENTS_BY_COUNTRY.table, f"s3://{BUCKET}/aggregated/attempt/"
    read = sources(EVENTS_BY_COUNTRY, hours, prices, tmp_path)
    found = redshift.unload(
        sql_file(EVENTS_BY_COUNTRY.statement), bounds(DAY), read, Staged(tmp_path / "x", prefix), table
    )
    parts = objects(prefix)
    assert list(parts) == [f"{number:03}" for number in range(len(parts))]
    assert len(parts) > 2
    assert sum(len(rows(part, table)) for part in parts.values()) == found


def test_a_manifest_that_is_cut_off_is_read_to_its_end(
    hours: Hours, aws: str, redshift_data: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    create_bucket()
    publish(FLATTENED_EVENTS, hours)
    prefix, nothing = f"s3://{BUCKET}/aggregated/attempt/", {FLATTENED_EVENTS.name: Source(FLATTENED_EVENTS, [])}
    statement, table = sql_file(EVENTS_BY_COUNTRY.statement), EVENTS_BY_COUNTRY.table
    with AwsProxy(aws, Faults(break_off, 1, lambda asked: asked.method == "GET" and "manifest" in asked.path)) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", proxy.address)
        redshift = RedshiftWarehouse(RedshiftData("clickstream", "run", 30), 200_000_000, tmp_path / ".duckdb")
        assert redshift.unload(statement, bounds(DAY), nothing, Staged(tmp_path / "x", prefix), table) == 0
        assert [asked.method for asked in proxy.requests if "manifest" in asked.path] == ["GET", "GET"]
        assert objects(prefix) == {"000": "country|event_name|events\n"}


@pytest.mark.parametrize("of_nothing", ["empty", "header", "no object"])
def test_an_answer_without_rows_is_a_header(
    hours: Hours, redshift: RedshiftWarehouse, redshift_data: Service, tmp_path: Path, of_nothing: str
) -> None:
    publish(FLATTENED_EVENTS, hours)
    redshift_data.of_nothing = of_nothing
    prefix, nothing = f"s3://{BUCKET}/aggregated/attempt/", {FLATTENED_EVENTS.name: Source(FLATTENED_EVENTS, [])}
    statement, table = sql_file(EVENTS_BY_COUNTRY.statement), EVENTS_BY_COUNTRY.table
    assert redshift.unload(statement, bounds(DAY), nothing, Staged(tmp_path / "x", prefix), table) == 0
    assert objects(prefix) == {"000": "country|event_name|events\n"}


def test_text_goes_out_as_harmless_as_from_duckdb(redshift: RedshiftWarehouse, tmp_path: Path) -> None:
    texts = pa.table([["x"] * len(TEXTS), TEXTS], ["key", "text"])
    publish(KEPT, {None: texts})
    pq.write_table(texts, tmp_path / "texts.parquet")
    select = "SELECT k.key, k.text FROM kept k ORDER BY k.text ASC NULLS LAST"
    read = {"kept": Source(KEPT, [tmp_path / "texts.parquet"])}
    here, prefix = tmp_path / "here.csv", f"s3://{BUCKET}/aggregated/attempt/"
    DuckDBWarehouse(200_000_000, tmp_path / ".duckdb").unload(f"SELECT * FROM ({select})", [], read, here, TEXT_TABLE)
    assert redshift.unload(select, [], read, Staged(tmp_path / "x", prefix), TEXT_TABLE) == len(TEXTS)
    assert sorted(rows(objects(prefix)["000"], TEXT_TABLE)) == sorted(rows(here.read_text(), TEXT_TABLE))


def test_a_prefix_that_holds_something_is_never_written_over(
    hours: Hours, redshift: RedshiftWarehouse, tmp_path: Path
) -> None:
    publish(FLATTENED_EVENTS, hours)
    prefix, nothing = f"s3://{BUCKET}/aggregated/attempt/", {FLATTENED_EVENTS.name: Source(FLATTENED_EVENTS, [])}
    boto3.client("s3").put_object(Bucket=BUCKET, Key="aggregated/attempt/000", Body=b"of another run")
    statement, table = sql_file(EVENTS_BY_COUNTRY.statement), EVENTS_BY_COUNTRY.table
    with pytest.raises(StatementError, match=r"not empty[^\n]*\nUNLOAD"):
        redshift.unload(statement, bounds(DAY), nothing, Staged(tmp_path / "x", prefix), table)
    assert objects(prefix) == {"000": "of another run"}


def test_without_a_prefix_on_s3_nothing_is_asked_of_redshift(
    redshift: RedshiftWarehouse, redshift_data: Service, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="no prefix"):
        redshift.unload("SELECT 1", [], {}, Staged(tmp_path / "x"), TEXT_TABLE)
    assert redshift_data.calls == []


def test_an_engine_that_misreads_time_is_found_out_before_days_unload_empty(
    hours: Hours, redshift: RedshiftWarehouse, redshift_data: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(FLATTENED_EVENTS, hours)
    read, prefix = redshift_data.tables.rows, f"s3://{BUCKET}/aggregated/attempt/"

    def in_milliseconds(*arguments: Any) -> pa.Table:
        rows = read(*arguments)
        place = rows.column_names.index("event_timestamp")
        misread = pc.multiply(rows["event_timestamp"].cast(pa.int64()), 1000).cast(pa.timestamp("us"))
        return rows.set_column(place, "event_timestamp", misread)

    monkeypatch.setattr(redshift_data.tables, "rows", in_milliseconds)
    found = {FLATTENED_EVENTS.name: Source(FLATTENED_EVENTS, [tmp_path / "x"], (min(hours), max(hours)))}
    statement, table = sql_file(EVENTS_BY_COUNTRY.statement), EVENTS_BY_COUNTRY.table
    with pytest.raises(StatementError, match=rf"rows of {min(hours):%Y-%m-%d %H}:00 are read as of other hours"):
        redshift.unload(statement, bounds(DAY), found, Staged(tmp_path / "x", prefix), table)
    assert objects(prefix) == {}


def test_time_is_proven_once_on_one_hour(
    hours: Hours, redshift: RedshiftWarehouse, redshift_data: Service, tmp_path: Path
) -> None:
    publish(FLATTENED_EVENTS, hours)
    found = {FLATTENED_EVENTS.name: Source(FLATTENED_EVENTS, [tmp_path / "x"], (min(hours), max(hours)))}
    statement, table = sql_file(EVENTS_BY_COUNTRY.statement), EVENTS_BY_COUNTRY.table
    for attempt in ("first", "second"):
        place = Staged(tmp_path / "x", f"s3://{BUCKET}/aggregated/{attempt}/")
        assert redshift.unload(statement, bounds(DAY), found, place, table) > 0
    proofs = [each.text for each in redshift_data.statements.all if "rows_astray" in each.text]
    assert len(proofs) == 1
    assert len(redshift_data.tables.scans[0].partitions) == 1


def test_an_engine_that_leaves_formulas_in_is_found_out(
    redshift: RedshiftWarehouse, redshift_data: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.aws_standins.redshift._as_duckdb", lambda node: node)
    with pytest.raises(StatementError, match="REGEXP_REPLACE made"):
        redshift.unload("SELECT 1", [], {}, Staged(tmp_path / "x", f"s3://{BUCKET}/a/"), TEXT_TABLE)
