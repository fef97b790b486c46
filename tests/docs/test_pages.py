"""What the analysts' pages tell one to type does what they say."""

import re
import subprocess
import sys
from pathlib import Path

import click
import duckdb
import pandas as pd
import pytest

from clickstream_assets.catalog import CATALOGUED
from commands.query import query
from resources.catalog import DuckDBCatalog
from resources.lake import DirectoryLake
from streaming.settings import ROOT
from tests.docs.conftest import NOW

ANALYSTS = ROOT / "docs" / "analysts.md"
TABLES = ROOT / "docs" / "tables.md"
# Nothing was replayed or lost, and no stream ran.
EMPTY = {"replays", "ledger_deficits", "high_intent_views"}


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_every_query_and_script_answers(home: Path) -> None:
    examples = blocks(TABLES, "sql")
    assert len(examples) == len(CATALOGUED)
    with duckdb.connect(home / "catalog.duckdb", read_only=True) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        answers = {statement: connection.execute(statement).fetchall() for statement in examples}
        asked = blocks(ANALYSTS, "sql")
        sold_best, by_hour, retention, visits, hours = (
            connection.execute(re.sub("2026, 11, 23", f"{NOW:%Y, %m, %d}", statement)).fetchall() for statement in asked
        )
    assert {
        found[1] for statement in answers if not answers[statement] and (found := re.search(r"FROM (\w+)", statement))
    } == EMPTY
    assert [tuple(map(str, row)) for row in sold_best] == [("361482", "2", "1389.66", "6")]
    assert [sum(column) for column in list(zip(*by_hour, strict=True))[1:3]] == [6, 2]
    assert {(week, percent) for _, week, _, percent in retention} >= {(0, 100.0)}
    assert visits == [("AddToCart", 2, 2.0), ("Purchase", 2, 3.0), ("Search", 2, 0.0), ("ViewContent", 2, 1.0)]
    assert {moment.hour for moment, *_ in hours} <= {8, 9, 10, 11}

    [script] = blocks(ANALYSTS, "python")
    found: dict[str, pd.DataFrame] = {}
    exec(script.replace("2026-11-01", "2000-01-01"), found)
    assert len(found["purchases"]) == 2


def test_every_option_named_is_one_of_the_command() -> None:
    known = {option for parameter in query.params if isinstance(parameter, click.Option) for option in parameter.opts}
    named = set(re.findall(r"\./run query .*?(--\w+)", ANALYSTS.read_text()))
    assert named
    assert named <= known


@pytest.mark.parametrize("page", [ANALYSTS, TABLES], ids=lambda page: page.stem)
def test_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\((?!https://|#)([^)#]+)", page.read_text())
    assert targets
    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_a_connection_that_may_write_keeps_readers_out_until_the_next_refresh(tmp_path: Path) -> None:
    catalog = DuckDBCatalog(tmp_path / "catalog.duckdb", DirectoryLake(tmp_path))
    catalog.refresh(CATALOGUED)
    script = "import duckdb, sys; print(duckdb.connect(sys.argv[1], read_only=True).view('sessions').columns)"
    reader = [sys.executable, "-c", script, str(catalog.file)]
    with duckdb.connect(catalog.file):
        kept_out = subprocess.run(reader, capture_output=True, text=True, check=False)
        catalog.refresh(CATALOGUED)
        let_in = subprocess.run(reader, capture_output=True, text=True, check=False)
    assert "Could not set lock on file" in kept_out.stderr
    assert "session_start" in let_in.stdout
