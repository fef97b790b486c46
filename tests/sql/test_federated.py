"""The federated statement is Athena's own, close to the article's, and DuckDB's by transpilation."""

import duckdb
import pytest
import sqlglot
from sqlglot import ErrorLevel, exp

from clickstream_assets.reports.latest_search_by_user import STATEMENT
from resources.federation import local_statement
from resources.warehouse import sql_file
from streaming.domain.tables import LATEST_SEARCH_BY_USER

ARTICLE = """
WITH s3 AS
    (SELECT timestamp,
         user_id,
         name,
         event_name
 FROM "data-sandbox"."2021"), redis AS
    (SELECT SUBSTRING(_key_, 6, 4) AS user_id,
         last_access,
         location
 FROM "data-sandbox-redis"."redis"."redis"), mysql AS
    (SELECT customer_id AS user_id,
         pixel_id,
         name,
         price_per_click
 FROM "mysql"."datasandbox"."customers")
SELECT s3.user_id,
       mysql.name,
       location,
       event_name,
       last_access,
       price_per_click
FROM s3
LEFT JOIN redis
 ON redis.user_id = s3.user_id
LEFT JOIN mysql
 ON CAST(mysql.user_id AS VARCHAR(5)) = s3.user_id
WHERE event_name='Search'
ORDER BY  last_access DESC
"""


def parse(sql: str) -> exp.Select:
    (statement,) = sqlglot.parse(sql, read="athena")
    assert isinstance(statement, exp.Select)
    return statement


@pytest.fixture
def ours() -> exp.Select:
    return parse(sql_file(STATEMENT))


@pytest.fixture
def article() -> exp.Select:
    return parse(ARTICLE)


def places(statement: exp.Select) -> list[tuple[str, str]]:
    """Catalog and database of every table that is not a CTE."""
    return [(table.catalog, table.db) for table in statement.find_all(exp.Table) if table.db]


def test_it_has_the_articles_columns_in_their_order_and_the_last_search(ours: exp.Select, article: exp.Select) -> None:
    assert [name for name in ours.named_selects if name != "last_search"] == article.named_selects
    assert ours.named_selects == list(LATEST_SEARCH_BY_USER.column_names)


def test_it_has_the_articles_parts_places_joins_and_order(ours: exp.Select, article: exp.Select) -> None:
    assert [cte.alias for cte in ours.ctes] == [cte.alias for cte in article.ctes] == ["s3", "redis", "mysql"]
    assert places(ours) == places(article)
    assert [(join.side, join.this.name) for join in ours.args["joins"]] == [("LEFT", "redis"), ("LEFT", "mysql")]
    by_access, by_user = ours.args["order"].expressions
    assert [by_access.sql()] == [each.sql() for each in article.args["order"].expressions]
    assert by_user.this.sql() == "user_id"


def test_ids_are_whole(ours: exp.Select, article: exp.Select) -> None:
    def cuts(statement: exp.Select) -> list[str]:
        pieces = [each.sql() for each in statement.find_all(exp.Substring) if each.args.get("length")]
        return pieces + [each.sql() for each in statement.find_all(exp.DataType) if each.expressions]

    assert len(cuts(article)) == 2
    assert cuts(ours) == []


def test_athena_takes_it_as_it_is(ours: exp.Select) -> None:
    for dialect in ("athena", "trino"):
        again = ours.sql(dialect=dialect, unsupported_level=ErrorLevel.RAISE, comments=False)
        assert sqlglot.parse_one(again, read=dialect).named_selects == ours.named_selects


def test_duckdb_runs_both_halves_of_it_under_the_last_part_of_each_name() -> None:
    searches, report = local_statement(sql_file(STATEMENT))
    with duckdb.connect() as connection:
        connection.execute(
            "CREATE TABLE flattened_events AS SELECT '20' AS user_id, 'Search' AS event_name, "
            "unnest([TIMESTAMP '2026-11-20 10:00:00', TIMESTAMP '2026-11-21 10:00:00']) AS event_timestamp"
        )
        connection.execute(f"CREATE TABLE searches AS {searches}")
        connection.execute(
            "CREATE TABLE users AS SELECT 'user:20' AS _key_, '2026-11-22T10:00:00.000001Z' AS last_access, "
            "'' AS location"
        )
        connection.execute("CREATE TABLE customers AS SELECT 20 AS customer_id, 'Ada' AS name, 0.25 AS price_per_click")
        rows = connection.execute(f"SELECT * REPLACE (last_access::VARCHAR AS last_access) FROM ({report})").fetchall()
        (last_search,) = connection.execute("SELECT MAX(event_timestamp) FROM flattened_events").fetchall()[0]
    assert [tuple(map(str, row)) for row in rows] == [
        ("20", "Ada", "None", "Search", str(last_search), "2026-11-22 10:00:00.000001", "0.25")
    ]
