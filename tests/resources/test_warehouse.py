"""Text that a spreadsheet would run comes out of an unload harmless, and back from the catalog as it was."""

from pathlib import Path

import duckdb
import pytest

from resources.catalog import DuckDBCatalog
from resources.lake import Lake
from resources.warehouse import DuckDBWarehouse
from streaming.domain.tables import Column, Table

TABLE = Table("texts", "aggregated/texts", "csv", "day", "one row per text", (Column("text", "VARCHAR", "a text"),))
TEXTS = ["=1+1", "+1", "-1", "@x", "\tx", "'", "'=1", "plain", "a|b", 'say "hi"', "", "über", "line\nbreak", None]


@pytest.mark.parametrize("text", TEXTS)
def test_text_goes_out_harmless_and_comes_back_as_it_was(tmp_path: Path, text: str | None) -> None:
    lake, warehouse = Lake(tmp_path / "lake"), DuckDBWarehouse(100_000_000, tmp_path)
    with lake.publishing("aggregated/texts/date=2026-11-20/texts.csv") as file:
        assert warehouse.unload("SELECT CAST(? AS VARCHAR) AS text", [text], {}, file, TABLE) == 1

    written = lake.path("aggregated/texts/date=2026-11-20/texts.csv").read_text()
    assert written.splitlines()[0] == "text"
    assert not written.removeprefix("text\n").strip('"').startswith(("=", "+", "-", "@", "\t"))
    catalog = DuckDBCatalog(tmp_path / "catalog.duckdb", lake)
    catalog.refresh([TABLE])
    with duckdb.connect(catalog.file, read_only=True) as connection:
        assert connection.execute("SELECT text, CAST(date AS VARCHAR) FROM texts").fetchall() == [(text, "2026-11-20")]
