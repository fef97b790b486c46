"""What goes into a statement of Redshift is typed and named by us: nothing else can be in it."""

from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path

import duckdb
import pytest
import sqlglot
from sqlglot import exp

from resources.aws.redshift_sql import answer, bind, unload
from resources.warehouse import Source
from streaming.domain.tables import CUSTOMER_PRICES, FLATTENED_EVENTS, Column, Table

TABLE = Table("users", "aggregated/users", "csv", "day", "", (Column("user_id", "VARCHAR", ""),))
PREFIX = "s3://bucket/aggregated/users/date=2026-11-20/5f-1/"


def hour(month: int, day: int, hour_: int = 0) -> datetime:
    return datetime(2026, month, day, hour_, tzinfo=UTC)


def test_parameters_become_typed_literals_in_their_order() -> None:
    statement = "SELECT '?' AS quoted, ? AS a, -- and [?, ?)\n  ? AS b, ? AS c /* ? */ FROM t"
    moment = datetime(2026, 11, 20, 1, 2, 3, 4, tzinfo=timezone(timedelta(hours=2)))
    assert bind(statement, [moment, date(2026, 11, 20), 7]) == (
        "SELECT '?' AS quoted, TIMESTAMP '2026-11-19 23:02:03.000004' AS a, -- and [?, ?)\n"
        "  DATE '2026-11-20' AS b, 7 AS c /* ? */ FROM t"
    )


@pytest.mark.parametrize("value", ["x", "'; DROP TABLE t; --", 1.5, None, True, b"x", [1]])
def test_no_other_value_comes_into_a_statement(value: object) -> None:
    with pytest.raises(TypeError, match="moments, days and whole numbers"):
        bind("SELECT ?", [value])


@pytest.mark.parametrize("parameters", [[], [1, 2]])
def test_each_parameter_has_its_place(parameters: list[int]) -> None:
    with pytest.raises(ValueError, match="zip"):
        bind("SELECT ? AS one", parameters)


def test_unload_quotes_its_select_and_has_the_articles_options() -> None:
    text = unload("SELECT 'it''s' AS a", PREFIX)
    assert text.startswith(
        f"UNLOAD ('SELECT ''it''''s'' AS a')\nTO '{PREFIX}'\nIAM_ROLE default\nCSV\nDELIMITER AS '|'"
    )
    assert text.splitlines()[5:] == ["HEADER", "PARALLEL OFF", "ENCRYPTED AUTO", "MANIFEST VERBOSE"]


@pytest.mark.parametrize(
    "prefix",
    ["s3://bucket/", "s3://bucket/a", "s3://bucket/a' ALLOWOVERWRITE --/", "s3://b/a/", "https://bucket/a/", ""],
)
def test_unload_goes_to_a_folder_of_a_bucket_only(prefix: str) -> None:
    with pytest.raises(ValueError, match="no folder"):
        unload("SELECT 1", prefix)


def test_a_backslash_is_refused() -> None:
    with pytest.raises(ValueError, match="backslash"):
        unload(r"SELECT '\'' AS a", PREFIX)


@pytest.mark.parametrize("statement", ["SELECT name FROM flattened_events", "DROP TABLE users", "SELECT 1; SELECT 2"])
def test_only_a_select_of_the_tables_columns_is_run(statement: str) -> None:
    with pytest.raises((ValueError, sqlglot.errors.ParseError)):
        answer(statement, [], {}, TABLE)


def conditions(statement: str, **sources: Source) -> list[str]:
    """What the SELECT that reads the lake asks of the columns that partition it."""
    parsed = sqlglot.parse_one(answer(statement, [], sources, TABLE), read="redshift")
    wanted = (exp.Between, exp.In, exp.Boolean)
    return [each.sql("redshift", identify=False).replace('"', "") for each in parsed.find_all(*wanted, bfs=False)]


def flattened(first: datetime, last: datetime) -> Source:
    return Source(FLATTENED_EVENTS, [Path("a")], (first, last))


@pytest.mark.parametrize(
    ("first", "last", "expected"),
    [
        (hour(11, 20, 3), hour(11, 20, 5), ["year 2026 2026", "month 11 11", "day 20 20", "hour 3 5"]),
        (hour(10, 31), hour(11, 1, 23), ["year 2026 2026", "month 10 11", "day 1, 31", "hour 0 23"]),
        (hour(1, 1), hour(12, 31, 23), ["year 2026 2026", "month 1 12", "day 1 31", "hour 0 23"]),
    ],
)
def test_each_column_of_a_partition_has_its_own_condition(first: datetime, last: datetime, expected: list[str]) -> None:
    statement = "SELECT f.user_id FROM flattened_events f WHERE f.name = 'x'"
    assert conditions(statement, flattened_events=flattened(first, last)) == [
        f"f.{column} IN ({values})" if "," in values else f"f.{column} BETWEEN {values.replace(' ', ' AND ')}"
        for column, _, values in (each.partition(" ") for each in expected)
    ]


def test_a_table_that_is_joined_keeps_the_joins_sense() -> None:
    statement = "SELECT f.user_id FROM flattened_events f LEFT JOIN customer_prices c ON c.customer_id = 1"
    prices = Source(CUSTOMER_PRICES, [Path("a")], (date(2026, 11, 20), date(2026, 11, 20)))
    sql = answer(
        statement, [], {"flattened_events": flattened(hour(11, 20), hour(11, 20)), "customer_prices": prices}, TABLE
    )
    (join,) = sqlglot.parse_one(sql, read="redshift").find_all(exp.Join)
    assert "BETWEEN" in join.args["on"].sql()
    assert '"lake"."customer_prices"' in sql


def test_a_table_without_partitions_gives_no_rows_and_unknown_ones_are_an_error() -> None:
    statement = "SELECT f.user_id FROM flattened_events f"
    assert conditions(statement, flattened_events=Source(FLATTENED_EVENTS, [])) == ["FALSE"]
    with pytest.raises(ValueError, match="which partitions"):
        conditions(statement, flattened_events=Source(FLATTENED_EVENTS, [Path("a")]))


@pytest.mark.parametrize(
    "between", ["-1 days", "0 days", "47 hours 59 minutes 59.999999 seconds", "48 hours", "-25 hours"]
)
def test_days_between_moments_are_counted_as_duckdb_counts_them(between: str) -> None:
    days = "SELECT EXTRACT(DAY FROM f.event_timestamp - f.insertion_timestamp) AS user_id FROM f"
    redshift = sqlglot.parse_one(answer(days, [], {}, TABLE), read="redshift")
    (counted,) = redshift.find_all(exp.Div)
    assert isinstance(counted.left, exp.TsOrDsDiff)
    whole = exp.IntDiv(this=counted.left, expression=counted.right).sql("duckdb")
    moments = (
        "SELECT TIMESTAMP '2026-11-20 12:00:00' AS insertion_timestamp, "
        f"insertion_timestamp + INTERVAL '{between}' AS event_timestamp"
    )
    told = f"SELECT {whole}, EXTRACT(DAY FROM f.event_timestamp - f.insertion_timestamp) FROM ({moments}) f"
    ((found, expected),) = duckdb.sql(told).fetchall()
    assert found == expected


def test_other_parts_of_what_lies_between_moments_are_refused() -> None:
    with pytest.raises(ValueError, match="days alone, not for HOUR"):
        answer("SELECT EXTRACT(HOUR FROM f.a - f.b) AS user_id FROM f", [], {}, TABLE)
