"""`read_table`: a table as a pandas frame, in one call."""

import subprocess
import sys
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path

import duckdb
import pandas as pd
import pytest

from clickstream_assets.aggregates.dependence import FlattenedDays
from clickstream_assets.aggregates.registry import AGGREGATES
from clickstream_assets.aggregates.unload import unload
from clickstream_assets.catalog import CATALOGUED
from clickstream_assets.tables import TableError, read_table
from resources.catalog import DuckDBCatalog
from resources.lake import DirectoryLake, partition_file
from resources.warehouse import DuckDBWarehouse
from streaming.domain.tables import ENRICHED_LANDING, FLATTENED_EVENTS
from streaming.settings import ROOT
from tests.clickstream_assets.conftest import NOW
from tests.clickstream_assets.layers import flatten_pending, settle
from tests.landing import delivery, land

HOURS = [NOW - timedelta(days=1), NOW - timedelta(hours=2), NOW]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, lake: DirectoryLake, warehouse: DuckDBWarehouse, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A purchase and a search in each of three hours of two days."""
    monkeypatch.setenv("CLICKSTREAM_HOME", str(tmp_path))
    for hour in HOURS:
        bought = delivery(hour, f"buy-{hour:%d-%H}", hour, event_name="Purchase")
        searched = delivery(hour, f"search-{hour:%d-%H}", hour, event_name="Search", additional_data={})
        land(lake, [bought, searched], f"{hour:%d-%H}")
    settle(lake, warehouse)
    flatten_pending(lake, warehouse)
    [by_type] = (aggregate for aggregate in AGGREGATES if aggregate.name == "events_by_type")
    for day in {hour.date() for hour in HOURS}:
        unload(by_type, day, FlattenedDays(lake), lake, warehouse)
    DuckDBCatalog(tmp_path / "catalog.duckdb", lake).refresh(CATALOGUED)
    return tmp_path


def test_types_are_those_that_pandas_works_with() -> None:
    frame = read_table("flattened_events", ["click_id", "event_timestamp", "price", "product_id"], where="price > 0")
    assert [str(each) for each in frame.dtypes] == ["str", "datetime64[us]", "float64", "Int64"]
    assert frame["price"].tolist() == [694.83] * 3
    assert frame["event_timestamp"].max() == pd.Timestamp(NOW.replace(tzinfo=None))
    assert read_table("events_by_type")["date"].dt.day.tolist() == [19, 19, 20, 20]


def test_nulls_are_missing_and_do_not_make_numbers_floats() -> None:
    products = read_table("flattened_events", ["product_id"])["product_id"]
    assert (str(products.dtype), int(products.isna().sum())) == ("Int64", 3)


def test_conditions_take_parameters() -> None:
    either = read_table("flattened_events", where="event_name = ? OR price > ?", parameters=["Search", 10_000])
    assert set(either["event_name"]) == {"Search"}
    with pytest.raises(duckdb.Error, match="nonsense"):
        read_table("flattened_events", where="nonsense = 1")


@pytest.mark.parametrize(
    ("since", "until", "hours"),
    [
        (None, None, HOURS),
        ("2026-11-20", None, HOURS[1:]),
        (None, date(2026, 11, 20), HOURS[:1]),
        (NOW, None, HOURS[2:]),
        ("2026-11-20 08:59", NOW.replace(minute=0), HOURS[1:2]),
        (datetime(2026, 11, 20, 12, tzinfo=timezone(timedelta(hours=2))), None, HOURS[2:]),
        ("2026-11-21", None, []),
    ],
)
def test_hours_that_overlap_are_read(since: str, until: str, hours: list[datetime]) -> None:
    frame = read_table("flattened_events", where="event_name = 'Search'", since=since, until=until)
    assert frame["event_timestamp"].tolist() == [pd.Timestamp(hour.replace(tzinfo=None)) for hour in hours]


def test_days_that_overlap_are_read() -> None:
    days = read_table("events_by_type", ["date"], since=datetime(2026, 11, 19, 23, tzinfo=UTC), until="2026-11-20")
    assert set(days["date"].dt.day) == {19}


def test_other_partitions_are_not_read(lake: DirectoryLake) -> None:
    lake.path(partition_file(FLATTENED_EVENTS, HOURS[1])).write_bytes(b"no Parquet")
    assert len(read_table("flattened_events", since=NOW)) == 2
    with pytest.raises(duckdb.Error):
        read_table("flattened_events")


def test_what_is_not_there_is_answered_by_what_is() -> None:
    with pytest.raises(TableError, match=r"no table named 'sesions', did you mean sessions\? there are .*raw_events"):
        read_table("sesions")
    with pytest.raises(
        TableError, match=r"no column of sessions named 'duration', did you mean .*\? there are user_id, session_start"
    ):
        read_table("sessions", ["user_id", "duration"])
    with pytest.raises(TableError, match="not partitioned by time"):
        read_table("latest_search_by_user", since="2026-11-20")


def test_a_home_without_tables_says_what_makes_them(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLICKSTREAM_HOME", str(home / "none"))
    with pytest.raises(TableError, match=r"no tables yet: `\./run demo`"):
        read_table(ENRICHED_LANDING.name)
    assert not (home / "none").exists()


def test_it_comes_without_dagster() -> None:
    script = "import sys, clickstream_assets.tables; print('dagster' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
