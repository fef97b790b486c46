"""`./run query`: SQL in, a table or a file out."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from commands.query import query
from resources.lake import DirectoryLake
from streaming.settings import ROOT
from tests.clickstream_assets.conftest import NOW
from tests.landing import delivery, land
from tests.spreadsheet import formulas


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CLICKSTREAM_HOME", str(tmp_path))
    land(DirectoryLake(tmp_path / "lake"), [delivery(NOW, f"click-{i}", NOW, user_id=f"={i}") for i in range(3)], "one")
    return tmp_path


def run(*arguments: str, typed: str | None = None) -> tuple[int, str]:
    result = CliRunner().invoke(query, arguments, input=typed)
    return result.exit_code, result.output


def test_a_table_for_people() -> None:
    status, output = run("SELECT COUNT(*) AS events FROM enriched_events")
    assert status == 0
    assert "events" in output
    assert "3" in output


def test_rows_wider_than_the_terminal_stand_one_below_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    wide = (
        "SELECT i, repeat('x', 300) AS long, [{'hour': TIMESTAMP '2026-11-23 04:00:00'}] AS nested FROM range(2) t(i)"
    )
    status, output = run(wide)
    assert status == 0
    assert output.splitlines()[:4] == [
        "-[ row 1 ]".ljust(27, "-"),
        "i:      0",
        f"long:   {'x' * 200}…",
        'nested: [{"hour":"2026-11-23T04:00:00"}]',
    ]
    assert "-[ row 2 ]" in output


def test_csv_without_formulas() -> None:
    assert run("SELECT user_id FROM enriched_events ORDER BY 1 LIMIT 1", "--format", "csv") == (
        0,
        '"user_id"\n"\'=0"\n',
    )


HOSTILE = ["'x;=1'", "'=1'::BLOB", "'x,=1'::BLOB", "'\\xFF'::BLOB", "['x;=1']", "{'a': '=1'}", "'\"x;=1\"'::JSON"]


@pytest.mark.parametrize("value", HOSTILE)
def test_csv_without_formulas_wherever_a_spreadsheet_cuts(value: str) -> None:
    status, output = run(f"SELECT 1 AS one, {value} AS value", "--format", "csv")
    assert (status, formulas(output)) == (0, [])


def test_json_a_line_an_object() -> None:
    status, output = run("SELECT click_id, additional_data FROM enriched_events ORDER BY 1", "--format", "json")
    assert status == 0
    assert json.loads(output.splitlines()[0]) == {
        "click_id": "click-0",
        "additional_data": {"time_on_data": 83, "percent_viewed": 87.0, "product_id": 361482, "price": "694.83"},
    }


def test_parquet_into_a_file(home: Path) -> None:
    file = home / "out.parquet"
    assert run("SELECT * FROM enriched_events", "--format", "parquet", "--output", str(file))[0] == 0
    assert pq.read_table(file).num_rows == 3
    assert run("SELECT 1", "--format", "parquet")[0] == 2


def test_a_folder_that_is_not_there_is_named(home: Path) -> None:
    status, output = run("SELECT 1", "--output", str(home / "none" / "out.txt"))
    assert status == 2
    assert f"there is no folder {home / 'none'}" in output


def test_sql_from_standard_input() -> None:
    assert run("-", "--format", "json", typed="SELECT 1 AS one") == (0, '{"one": 1}\n')


def test_an_unknown_table_names_those_there_are() -> None:
    status, output = run("SELECT * FROM evnts")
    assert status == 1
    assert "Tables: actions_by_customer, actions_by_customer_all_time, " in output
    assert "Did you mean" not in output


def test_ctrl_c_ends_a_query_that_takes_long(home: Path) -> None:
    endless = "SELECT SUM(a.range * b.range) FROM range(10000000) a, range(10000000) b"
    command = [sys.executable, "-P", "-m", "commands", "query", endless]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "CLICKSTREAM_HOME": str(home)}
    with subprocess.Popen(command, env=environment) as process:
        try:
            catalog = home / "catalog.duckdb"
            while not catalog.exists() or psutil.Process(process.pid).cpu_times().user < 4:
                time.sleep(0.05)
            process.send_signal(signal.SIGINT)
            assert process.wait(10) == -signal.SIGINT
        finally:
            process.kill()


def test_the_catalog_is_read_only() -> None:
    status, output = run("CREATE TABLE t (i INT)")
    assert status == 1
    assert "read-only" in output
