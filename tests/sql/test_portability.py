"""The SELECTs of flattening and aggregation are one text for every engine."""

from pathlib import Path

import pytest
import sqlglot
from sqlglot import exp

from clickstream_assets.aggregates.registry import AGGREGATES
from streaming.settings import ROOT

PORTABLE = [ROOT / "sql" / "flatten" / "flattened_events.sql", *sorted((ROOT / "sql" / "aggregates").glob("*.sql"))]
ENGINES = ["redshift", "athena", "spark"]
# What all engines document, and mean alike.
FUNCTIONS = (
    exp.Case, exp.Cast, exp.Coalesce, exp.Connector, exp.Count, exp.Extract, exp.Floor, exp.If, exp.Lag, exp.Lead,
    exp.Length, exp.Max, exp.Min, exp.Nullif, exp.Replace, exp.RowNumber, exp.Sum, exp.TimestampTrunc,
)  # fmt: skip
UNITS = {"MINUTE", "HOUR", "DAY", "WEEK", "SECOND"}


def name(file: Path) -> str:
    return file.stem


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("file", PORTABLE, ids=name)
def test_it_is_one_select_that_every_engine_parses_as_it_is(file: Path, engine: str) -> None:
    (statement,) = sqlglot.parse(file.read_text(), read="duckdb")
    assert isinstance(statement, exp.Select)
    assert sqlglot.parse_one(file.read_text(), read=engine)
    assert sqlglot.parse_one(statement.sql(dialect=engine), read=engine)


@pytest.mark.parametrize("file", PORTABLE, ids=name)
def test_it_keeps_to_what_the_engines_share(file: Path) -> None:
    statement = sqlglot.parse_one(file.read_text(), read="duckdb")
    assert not list(statement.find_all(exp.Qualify, exp.Filter, exp.Round))
    assert not any(column.is_star for select in statement.find_all(exp.Select) for column in select.expressions)
    assert all(key.args.get("nulls_first") is False or _never_null(key) for key in statement.find_all(exp.Ordered))
    assert '"' not in file.read_text()


@pytest.mark.parametrize("file", PORTABLE, ids=name)
def test_it_calls_only_what_all_engines_document(file: Path) -> None:
    statement = sqlglot.parse_one(file.read_text(), read="duckdb")
    assert [call.sql() for call in statement.find_all(exp.Func) if not isinstance(call, FUNCTIONS)] == []
    units = {unit.name.upper() for unit in statement.find_all(exp.Var)}
    assert units <= UNITS
    for window in statement.find_all(exp.Window):
        if window.args.get("order") and isinstance(window.this, exp.Sum | exp.Min | exp.Max | exp.Count):
            assert window.args["spec"].args["kind"] == "ROWS"  # Redshift wants it said


@pytest.mark.parametrize("engine", ["redshift", "athena"])
@pytest.mark.parametrize("file", PORTABLE, ids=name)
def test_what_is_transpiled_divides_no_whole_numbers(file: Path, engine: str) -> None:
    statement = sqlglot.parse_one(sqlglot.transpile(file.read_text(), read="duckdb", write=engine)[0], read=engine)
    assert all(division.left.is_type("double") for division in statement.find_all(exp.Div))


@pytest.mark.parametrize("aggregate", AGGREGATES, ids=lambda aggregate: aggregate.name)
def test_an_aggregate_gives_the_columns_its_registry_row_declares(aggregate: object) -> None:
    statement = sqlglot.parse_one((ROOT / "sql" / f"{aggregate.statement}.sql").read_text(), read="duckdb")
    assert statement.named_selects == list(aggregate.table.column_names)


def test_every_aggregate_file_has_a_registry_row() -> None:
    files = {file.stem for file in (ROOT / "sql" / "aggregates").glob("*.sql")}
    assert files == {aggregate.name for aggregate in AGGREGATES}


def _never_null(key: exp.Ordered) -> bool:
    columns = {"event_timestamp", "click_id"}
    return not isinstance(key.this, exp.Column) or key.this.name in columns
