"""What the warehouse reads is of one moment; what it unloads is harmless, and comes back as it was."""

from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest

from resources.catalog import DuckDBCatalog
from resources.lake import DirectoryLake
from resources.warehouse import Answer, DuckDBWarehouse, Source, Sources
from streaming.domain.tables import Column, Table
from streaming.edges.lake import replaced
from tests.spreadsheet import formulas

COLUMNS = (Column("key", "VARCHAR", "in front"), Column("text", "VARCHAR", "a text"))
TABLE = Table("texts", "aggregated/texts", "csv", "day", "one row per text", COLUMNS)
TEXTS = [
    "=1+1", "+A1", "-A1", "@x", "\t=x", "＝1", "'", "'=1", "plain", "a|b", 'say "hi"', "", "über", "line\nbreak", None,
    "x,=1", "x;=1", "x\t=1", "x|=1", "x\n=1", 'x,"=1', "x,'=1", "',=1,'", '"=1"', "x,,=1;+A1;", " =1", "x; =1",
    "x, '=1",
]  # fmt: skip


@pytest.mark.parametrize("text", TEXTS)
def test_text_goes_out_harmless_and_comes_back_as_it_was(tmp_path: Path, text: str | None) -> None:
    lake, warehouse = DirectoryLake(tmp_path / "lake"), DuckDBWarehouse(100_000_000, tmp_path)
    with replaced(lake.path("aggregated/texts/date=2026-11-20/texts.csv")) as file:
        assert warehouse.unload("SELECT 'x' AS key, CAST(? AS VARCHAR) AS text", [text], {}, file, TABLE) == 1

    written = lake.path("aggregated/texts/date=2026-11-20/texts.csv").read_text()
    assert written.splitlines()[0] == "key|text"
    assert formulas(written) == []
    catalog = DuckDBCatalog(tmp_path / "catalog.duckdb", lake)
    catalog.refresh([TABLE])
    with duckdb.connect(catalog.file, read_only=True) as connection:
        assert connection.execute("SELECT text, CAST(date AS VARCHAR) FROM texts").fetchall() == [(text, "2026-11-20")]


class ReplacedMeanwhile(DuckDBWarehouse):
    """A partition is replaced once, between two scans of a statement."""

    def __init__(self, scratch: Path, replace: Callable[[], None], failing: bool) -> None:
        super().__init__(100_000_000, scratch)
        self._replacements = [replace]
        self._failing = failing

    def _connected(self, sources: Sources, work: Callable[[duckdb.DuckDBPyConnection], Answer]) -> Answer:
        answer = super()._connected(sources, work)
        if self._replacements:
            self._replacements.pop()()
            if self._failing:
                raise duckdb.InvalidInputException("Invalid data")
        return answer


@pytest.mark.parametrize("failing", [False, True])
def test_what_read_a_partition_that_was_replaced_meanwhile_is_done_again(tmp_path: Path, failing: bool) -> None:
    lake, warehouse = DirectoryLake(tmp_path / "lake"), DuckDBWarehouse(100_000_000, tmp_path)
    table = Table("versions", "versions", "parquet", "hour", "one row", (Column("version", "BIGINT", "which"),))
    sources = {"versions": Source(table, [lake.path("versions.parquet")])}

    def publish(version: int) -> None:
        with replaced(lake.path("versions.parquet"), as_of=1) as file:
            warehouse.save("SELECT CAST(? AS BIGINT) AS version", [version], {}, file, {})

    publish(1)
    warehouse = ReplacedMeanwhile(tmp_path, lambda: publish(2), failing)

    assert warehouse.select("SELECT version FROM versions", [], sources)["version"].to_pylist() == [2]


def test_an_error_of_the_statement_itself_is_raised(tmp_path: Path) -> None:
    with pytest.raises(duckdb.BinderException, match="nowhere"):
        DuckDBWarehouse(100_000_000, tmp_path).select("SELECT nowhere", [], {})
