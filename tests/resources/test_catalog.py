"""The catalog can be opened and queried at any time, and tells each table's rows once."""

import subprocess
import sys
from datetime import timedelta
from pathlib import Path

from clickstream_assets.catalog import CATALOGUED, ROLLED_UP
from clickstream_assets.enriched.seal import seal
from resources.catalog import DuckDBCatalog
from resources.lake import DirectoryLake
from resources.warehouse import DuckDBWarehouse
from streaming.domain.layout import hour_of
from tests.clickstream_assets.conftest import NOW
from tests.landing import delivery, land
from tests.resources.conftest import ask

HOUR = hour_of(NOW)


def test_tables_without_files_are_empty_and_typed(catalog: DuckDBCatalog) -> None:
    refreshed = catalog.refresh(CATALOGUED)
    assert refreshed.empty == [table.name for table in CATALOGUED]
    assert refreshed.views == [*refreshed.empty, "schema_drift"]
    for table in CATALOGUED:
        described = ask(catalog, f'DESCRIBE SELECT * FROM "{table.name}"')
        assert [row[0] for row in described][: len(table.columns)] == list(table.column_names)
        assert ask(catalog, f'SELECT COUNT(*) FROM "{table.name}"') == [(0,)]


def test_views_and_columns_say_what_they_are(catalog: DuckDBCatalog) -> None:
    catalog.refresh(CATALOGUED, ROLLED_UP)
    uncommented = ask(
        catalog, "SELECT table_name, column_name FROM duckdb_columns() WHERE comment IS NULL AND NOT internal"
    )
    assert uncommented == []
    views = dict(ask(catalog, "SELECT view_name, comment FROM duckdb_views() WHERE NOT internal"))
    assert views.pop("schema_drift")
    assert views == {each.name: each.comment for each in (*CATALOGUED, *ROLLED_UP)}
    for table in CATALOGUED:
        commented = ask(catalog, f"SELECT column_name, comment FROM duckdb_columns() WHERE table_name = '{table.name}'")
        assert {(column.name, column.comment) for column in table.columns} <= set(commented)


def test_enriched_is_sealed_hours_and_the_landing_of_the_others(
    catalog: DuckDBCatalog, lake: DirectoryLake, tmp_path: Path
) -> None:
    warehouse = DuckDBWarehouse(100_000_000, tmp_path)
    count = "SELECT COUNT(*), COUNT(DISTINCT record_id) FROM enriched_events"
    hours = [HOUR, HOUR + timedelta(hours=1), HOUR + timedelta(hours=2)]
    for hour in hours:
        land(lake, [delivery(hour, f"click-{number}", hour) for number in range(3)], "one")
    catalog.refresh(CATALOGUED)
    assert ask(catalog, count) == [(9, 9)]

    for hour in hours:
        seal(hour, lake, warehouse)
        assert ask(catalog, count) == [(9, 9)]  # no refresh between a seal and the query
        catalog.refresh(CATALOGUED)
        assert ask(catalog, count) == [(9, 9)]
    land(lake, [delivery(NOW, "new", hours[-1] + timedelta(hours=1))], "two")
    assert ask(catalog, count) == [(10, 10)]


def test_partition_columns_are_numbers(catalog: DuckDBCatalog, lake: DirectoryLake) -> None:
    morning = NOW.replace(hour=7)
    land(lake, [delivery(morning, "a", morning)], "one")
    catalog.refresh(CATALOGUED)
    assert ask(catalog, "SELECT COUNT(*) FROM raw_events WHERE month = 11 AND hour = 7") == [(1,)]


def test_another_process_reads_while_it_is_refreshed(catalog: DuckDBCatalog, lake: DirectoryLake) -> None:
    land(lake, [delivery(NOW, "a", NOW)], "one")
    catalog.refresh(CATALOGUED)
    reader = (
        "import duckdb, sys\n"
        "for _ in range(20):\n"
        "    with duckdb.connect(sys.argv[1], read_only=True) as c:\n"
        "        assert c.execute('SELECT COUNT(*) FROM enriched_events').fetchall() == [(1,)]\n"
    )
    process = subprocess.Popen([sys.executable, "-c", reader, str(catalog.file)])
    while process.poll() is None:
        catalog.refresh(CATALOGUED)
    assert process.returncode == 0
    assert [file.name for file in catalog.file.parent.glob("*duckdb*")] == ["catalog.duckdb"]
