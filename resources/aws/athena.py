"""Federated queries on Athena, which asks Redis and MySQL through its connectors.

Athena unloads the answer, a row for each user, as Parquet files in no order. DuckDB makes the one file of them that the
table has in both deployments, with declared types, in the statement's order.
"""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import sqlglot
from botocore.exceptions import ClientError
from sqlglot import exp

from resources.aws.s3.bucket import located
from resources.aws.statements import StatementError, StatementTimeoutError, check_size, follow, request_token, run_of
from resources.federation import CUSTOMERS, USERS, Unavailable
from resources.lake import Staged
from resources.warehouse import Source, Warehouse, empty_select, quoted
from streaming.domain.stack import Stack
from streaming.domain.tables import Table
from streaming.edges.aws import client

ENGINE = "Athena"
MOST_BYTES = 262_144
_ENDED = ("SUCCEEDED", "FAILED", "CANCELLED")
# The catalogs that the statement names, by the role of what they show; the lake's database has none.
_SOURCES = {"user_cache": "data-sandbox-redis", "users_db": "mysql"}
_SHOWN = {"user_cache": USERS, "users_db": CUSTOMERS}


class Athena:
    """Statements of one run, in a workgroup, which bounds what each may scan. Safe to share between threads."""

    def __init__(self, workgroup: str, database: str, run: str, timeout_seconds: float) -> None:
        self._workgroup = workgroup
        self._database = database
        self._run = run
        self._timeout_seconds = timeout_seconds
        self._api = client("athena")

    def run(self, statement: str) -> Mapping[str, Any]:
        """Run a statement to its end; returns its description. The same one within a run runs once.

        Interrupted, or past its time, it is stopped.

        Raises:
            StatementError: Athena failed it, or did not end it in time.
        """
        check_size(ENGINE, statement, MOST_BYTES)
        query_id = self._start(statement)
        description = follow(
            ENGINE,
            statement,
            lambda: self._ended(query_id),
            lambda: self._api.stop_query_execution(QueryExecutionId=query_id),
            self._timeout_seconds,
        )
        status = description["Status"]
        if status["State"] != "SUCCEEDED":
            raise StatementError(ENGINE, status.get("StateChangeReason") or status["State"].lower(), statement)
        return description

    def _start(self, statement: str) -> str:
        try:
            started = self._api.start_query_execution(
                QueryString=statement,
                ClientRequestToken=request_token(self._run, statement),
                QueryExecutionContext={"Catalog": "AwsDataCatalog", "Database": self._database},
                WorkGroup=self._workgroup,
            )
        except ClientError as error:
            raise StatementError(ENGINE, str(error), statement) from error
        return str(started["QueryExecutionId"])

    def _ended(self, query_id: str) -> Mapping[str, Any] | None:
        description: Mapping[str, Any] = self._api.get_query_execution(QueryExecutionId=query_id)["QueryExecution"]
        return description if description["Status"]["State"] in _ENDED else None


class AthenaFederation:
    """Athena of a stack. A connector that is down fails a whole statement: it is then run once more, without it."""

    def __init__(self, athena: Athena, stack: Stack, warehouse: Warehouse) -> None:
        self._athena = athena
        self._stack = stack
        self._warehouse = warehouse
        self._s3 = client("s3")

    def save(self, statement: str, events: Source, table: Table, file: Staged, scratch: Path) -> Unavailable:
        """As `Federation.save`; events are those of the Glue catalog, whatever `events` says.

        Raises:
            StatementError: Athena failed the statement though Redis and MySQL answer, or did not end it in time.
            ValueError: the file is not staged on S3.
        """
        if file.prefix is None:
            raise ValueError("Athena unloads to S3 alone: there is no prefix to write to")
        query = sqlglot.parse_one(statement, read="athena")
        try:
            unavailable = self._unload(query, file.prefix)
            parts = self._download(file.prefix, scratch)
        finally:
            self._remove(file.prefix)
        self._warehouse.save(_in_order(query, table), [], {"answer": Source(table, parts)}, file, {})
        return unavailable

    def _unload(self, query: exp.Expr, prefix: str) -> Unavailable:
        try:
            self._athena.run(unload(query, self._stack, prefix))
        except StatementTimeoutError:
            raise
        except StatementError:
            unavailable = self._unavailable(query)
            down = [role for role, reason in unavailable._asdict().items() if reason]
            if not down:
                raise
            self._remove(prefix)  # a statement that failed leaves files
            self._athena.run(unload(without(query, down), self._stack, prefix))
            return unavailable
        return Unavailable()

    def _unavailable(self, query: exp.Expr) -> Unavailable:
        """Ask each source for a row; tells why one gives none."""
        return Unavailable(**{role: self._why_down(query, catalog) for role, catalog in _SOURCES.items()})

    def _why_down(self, query: exp.Expr, catalog: str) -> str | None:
        (table,) = (each for each in query.find_all(exp.Table) if each.catalog == catalog)
        try:
            row = exp.select("*").from_(table.copy()).limit(1)
            self._athena.run(in_stack(row, self._stack.part, self._stack.database))
        except StatementError as error:
            return error.reason
        return None

    def _download(self, prefix: str, folder: Path) -> list[Path]:
        bucket, attempt = located(prefix, self._s3)
        files = {each.key: folder / each.key.rpartition("/")[2] for each in bucket.objects(attempt)}
        for key, file in files.items():
            bucket.download(key, None, file)
        return list(files.values())

    def _remove(self, prefix: str) -> None:
        bucket, attempt = located(prefix, self._s3)
        bucket.clear(attempt)


def athena_federation(stack: Stack, statement_timeout_seconds: float) -> dg.ResourceDefinition:
    """Athena of a stack; the warehouse of the same deployment writes its answer."""

    @dg.resource(required_resource_keys={"warehouse"}, description=athena_federation.__doc__)
    def federation(context: dg.InitResourceContext) -> AthenaFederation:
        athena = Athena(stack.name, stack.database, run_of(context), statement_timeout_seconds)
        return AthenaFederation(athena, stack, context.resources.warehouse)

    return federation


def in_stack(query: exp.Expr, part: Callable[[str], str], database: str) -> str:
    """A statement with the article's names of databases and catalogs replaced by those of a stack.

    Args:
        part: as `Stack.part`.
        database: as `Stack.database`.
    """
    own = {
        ("", "data-sandbox"): ("", database),
        ("data-sandbox-redis", "redis"): (part("redis"), f"{database}_redis"),
        ("mysql", "datasandbox"): (part("mysql"), "datasandbox"),
    }
    query = query.copy()
    for table in query.find_all(exp.Table):
        for qualifier, name in zip(("catalog", "db"), own.get((table.catalog, table.db), ()), strict=False):
            table.set(qualifier, exp.to_identifier(name, quoted=True) if name else None)
    return query.sql("athena", comments=False, pretty=True)


def without(query: exp.Expr, roles: Iterable[str]) -> exp.Expr:
    """A statement whose tables of some sources have their columns and no rows."""
    catalogs = {_SOURCES[role]: _SHOWN[role] for role in roles}
    query = query.copy()
    for table in list(query.find_all(exp.Table)):
        if table.catalog in catalogs:
            nothing = sqlglot.parse_one(empty_select(catalogs[table.catalog].columns), read="duckdb")
            table.replace(exp.Subquery(this=nothing, alias=exp.TableAlias(this=exp.to_identifier(table.name))))
    return query


def unload(query: exp.Expr, stack: Stack, prefix: str) -> str:
    """The statement that writes an answer to a prefix that holds nothing yet."""
    select = in_stack(query, stack.part, stack.database)
    return f"UNLOAD (\n{select}\n)\nTO {quoted(prefix)}\nWITH (format = 'PARQUET', compression = 'ZSTD')"


def _in_order(query: exp.Expr, table: Table) -> str:
    """What DuckDB makes of what was unloaded: the declared columns, in the order that the statement asks for."""
    columns = (f'CAST("{column.name}" AS {column.type}) AS "{column.name}"' for column in table.columns)
    order = query.args["order"].sql("duckdb")
    return f"SELECT {', '.join(columns)} FROM answer {order}"  # noqa: S608  declared names only
