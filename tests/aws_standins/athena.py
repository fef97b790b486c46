"""Athena: SELECT and UNLOAD to Parquet over the Glue catalog, and over Redis and MySQL through its connectors."""

import io
import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import boto3
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pymysql
import redis
import sqlglot
from sqlglot import exp

from streaming.domain.stack import Stack
from streaming.edges.users_db import UsersDb
from tests.aws_standins.engine import GlueTables, partition_conditions, run
from tests.aws_standins.json_service import JsonService, ServiceError
from tests.aws_standins.statements import EngineError, Rows, Statement, Statements

_UNLOAD = re.compile(
    r"UNLOAD\s*\((?P<select>.*)\)\s*TO '(?P<place>s3://[^']+)'\s*"
    r"WITH \(format = 'PARQUET', compression = 'ZSTD'\)",
    re.DOTALL,
)
_STATE = {None: "RUNNING", "finished": "SUCCEEDED", "failed": "FAILED", "cancelled": "CANCELLED"}
MOST_BYTES = 262_144
_CUSTOMERS = pa.schema(
    [
        ("customer_id", pa.int64()),
        ("pixel_id", pa.string()),
        ("name", pa.string()),
        ("price_per_click", pa.decimal128(10, 4)),
    ]
)


class Athena(JsonService):
    """A workgroup with the catalogs of a stack. `cutoff_bytes`: what a query may scan; `part_rows`: rows of a file."""

    service = "athena"
    throttling = "TooManyRequestsException"

    def __init__(self, redis_url: str, mysql_url: str, stack: str = "clickstream") -> None:
        super().__init__()
        self.cutoff_bytes = 10_000_000_000
        self.part_rows = 1000
        self.redis_url, self.mysql_url = redis_url, mysql_url
        self.tables = GlueTables()
        self.statements = Statements(self._execute)
        self._stack = stack
        self._s3 = boto3.client("s3")
        self._connectors = {
            (f"{stack}-redis", f"{Stack(stack).database}_redis", "users"): self._redis_users,
            (f"{stack}-mysql", "datasandbox", "customers"): self._mysql_customers,
        }

    def start_query_execution(
        self,
        QueryString: str,  # noqa: N803
        ClientRequestToken: str,  # noqa: N803
        QueryExecutionContext: Mapping[str, str],  # noqa: N803
        WorkGroup: str,  # noqa: N803
    ) -> Mapping[str, Any]:
        if WorkGroup != self._stack or QueryExecutionContext["Catalog"] != "AwsDataCatalog":
            raise ServiceError("InvalidRequestException", f"WorkGroup {WorkGroup} is not found")
        if len(QueryString.encode()) > MOST_BYTES or not 32 <= len(ClientRequestToken) <= 128:
            raise ServiceError("InvalidRequestException", "the statement is too long, or its token of another length")
        started = self.statements.submit(QueryString, QueryExecutionContext, ClientRequestToken)
        return {"QueryExecutionId": started.statement_id}

    def get_query_execution(self, QueryExecutionId: str) -> Mapping[str, Any]:  # noqa: N803
        statement = self.statements[QueryExecutionId]
        status = {"State": _STATE[statement.outcome], "SubmissionDateTime": statement.submitted_at}
        if statement.error:
            status["StateChangeReason"] = statement.error
        return {"QueryExecution": {"QueryExecutionId": QueryExecutionId, "Query": statement.text, "Status": status}}

    def stop_query_execution(self, QueryExecutionId: str) -> None:  # noqa: N803
        self.statements.cancel(self.statements[QueryExecutionId])

    def _execute(self, statement: Statement) -> Rows:
        text = statement.text.strip()
        if found := _UNLOAD.fullmatch(text):
            self._unload(found["select"], found["place"], statement.context["Database"])
            return Rows()
        return self._select(text, statement.context["Database"])

    def _select(self, text: str, database: str) -> Rows:
        before = len(self.tables.scans)
        select = sqlglot.parse_one(text, read="athena").transform(_in_milliseconds)
        answer = run(select, lambda table: self._find(table, database))
        if sum(scan.bytes for scan in self.tables.scans[before:]) > self.cutoff_bytes:
            raise EngineError("Bytes scanned limit was exceeded")
        return answer

    def _find(self, table: exp.Table, database: str) -> pa.Table | None:
        ctes = {cte.alias for cte in table.root().find_all(exp.CTE)}
        if not table.db and table.name in ctes:
            return None
        if not table.catalog or table.catalog == "AwsDataCatalog":
            rows = self.tables.rows(table.db or database, table.name, partition_conditions(table))
            return pa.table([_rounded(column) for column in rows.columns], rows.column_names)
        place = (table.catalog, table.db, table.name)
        if place not in self._connectors:
            raise EngineError(f"TABLE_NOT_FOUND: {'.'.join(place)}")
        try:
            return self._connectors[place]()
        except (redis.RedisError, pymysql.MySQLError) as error:
            function = f"arn:aws:lambda:us-east-1:123456789012:function:{table.catalog}"
            raise EngineError(
                f"GENERIC_USER_ERROR: Encountered an exception[{type(error).__name__}] from your "
                f"LambdaFunction[{function}] executed in context[S3SpillLocation] with message[{error}]"
            ) from error

    def _redis_users(self) -> pa.Table:
        """The hashes `user:*`, all text; keys of other types are passed by."""
        with redis.Redis.from_url(self.redis_url, socket_timeout=2, decode_responses=True) as client:
            keys = [key for key in client.scan_iter("user:*") if client.type(key) == "hash"]
            hashes = [client.hgetall(key) for key in keys]
        columns = ("name", "last_access", "location")
        return pa.table(
            [pa.array(keys, pa.string())] + [pa.array([each.get(c) for each in hashes], pa.string()) for c in columns],
            ["_key_", *columns],
        )

    def _mysql_customers(self) -> pa.Table:
        rows = [each._asdict() for each in UsersDb(self.mysql_url).all_customers()]
        return pa.Table.from_pylist(rows, _CUSTOMERS)

    def _unload(self, select: str, place: str, database: str) -> None:
        """Write Parquet files of names that tell nothing; what failed on the way leaves the first of them."""
        bucket, prefix = urlsplit(place).netloc, urlsplit(place).path.lstrip("/")
        if self._s3.list_objects_v2(Bucket=bucket, Prefix=prefix).get("KeyCount"):
            raise EngineError(f"HIVE_PATH_ALREADY_EXISTS: Target directory for table '{place}' already exists")
        try:
            answer = self._select(select, database)
        except EngineError:
            self._s3.put_object(Bucket=bucket, Key=f"{prefix}{uuid4()}", Body=b"orphaned")
            raise
        for rows in _chunks(answer, self.part_rows):
            content = io.BytesIO()
            pq.write_table(rows, content, compression="zstd", use_deprecated_int96_timestamps=True)
            self._s3.put_object(Bucket=bucket, Key=f"{prefix}{uuid4()}", Body=content.getvalue())


def _chunks(answer: Rows, size: int) -> Iterator[pa.Table]:
    columns = list(zip(*answer.rows, strict=True)) if answer.rows else []
    table = pa.table(columns, list(answer.columns)) if columns else None
    yield from (table.slice(start, size) for start in range(0, len(table), size)) if table is not None else ()


def _in_milliseconds(node: exp.Expression) -> exp.Expression:
    """A TIMESTAMP of Athena's has three digits behind the second."""
    is_timestamp = isinstance(node, exp.DataType) and node.is_type("timestamp")
    return exp.DataType.build("TIMESTAMP_MS", dialect="duckdb") if is_timestamp else node


def _rounded(column: pa.ChunkedArray) -> pa.ChunkedArray:
    is_timestamp = pa.types.is_timestamp(column.type)
    return pc.round_temporal(column, unit="millisecond") if is_timestamp else column
