"""Redshift Serverless behind its Data API: external schemas, SELECT, and UNLOAD to S3."""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Literal

import boto3
import pyarrow as pa
import sqlglot
from sqlglot import exp

from tests.aws_standins.engine import GlueTables, partition_conditions, run
from tests.aws_standins.json_service import JsonService, ServiceError
from tests.aws_standins.statements import EngineError, Rows, Statement, Statements

_LITERAL = r"'(?:[^']|'')*'"
_SCHEMA = re.compile(
    rf"CREATE EXTERNAL SCHEMA IF NOT EXISTS (?P<schema>\w+)\s+FROM DATA CATALOG\s+DATABASE (?P<database>{_LITERAL})"
    r"\s+IAM_ROLE default\s*"
)
_UNLOAD = re.compile(
    rf"UNLOAD\s*\((?P<select>{_LITERAL})\)\s*TO\s+(?P<place>{_LITERAL})\s+IAM_ROLE\s+default\s+(?P<options>.*)",
    re.DOTALL,
)
_OPTIONS = re.compile(
    r"(CSV|DELIMITER AS '\|'|HEADER|PARALLEL OFF|ENCRYPTED AUTO|MANIFEST VERBOSE|ALLOWOVERWRITE)(?:\s+|$)"
)
_COMMENT = re.compile(r"^\s*--[^\n]*\n", re.MULTILINE)
_STATUS = {None: "STARTED", "finished": "FINISHED", "failed": "FAILED", "cancelled": "ABORTED"}
MOST_BYTES = 100_000


class RedshiftData(JsonService):
    """The Data API of one workgroup. `part_bytes`: where UNLOAD begins the next file; `page_rows`: rows of a page.

    `busy`: how many statements are still refused because too many run. `of_nothing`: what UNLOAD writes where there are
    no rows, which is said nowhere: an `empty` object, a `header`, or no object.
    """

    service = "redshift-data"

    def __init__(self, workgroup: str = "clickstream", database: str = "clickstream") -> None:
        super().__init__()
        self.part_bytes = 6_200_000_000
        self.page_rows = 1000
        self.busy = 0
        self.of_nothing: Literal["empty", "header", "no object"] = "empty"
        self.tables = GlueTables()
        self.statements = Statements(self._execute)
        self._workgroup, self._database = workgroup, database
        self._schemas = {"lake": database}  # as set_up_warehouse makes it
        self._s3 = boto3.client("s3")

    def execute_statement(self, Sql: str, WorkgroupName: str, Database: str, ClientToken: str) -> Mapping[str, Any]:  # noqa: N803
        if (WorkgroupName, Database) != (self._workgroup, self._database):
            raise ServiceError("ValidationException", f"no workgroup {WorkgroupName} with a database {Database}")
        if len(Sql.encode()) > MOST_BYTES or len(ClientToken) > 64:
            raise ServiceError("ValidationException", "the statement or its token is too long")
        if self.busy:
            self.busy -= 1
            raise ServiceError("ActiveStatementsExceededException", "too many active statements")
        statement = self.statements.submit(Sql, {}, ClientToken)
        return {"Id": statement.statement_id, "CreatedAt": statement.submitted_at, "Database": Database}

    def describe_statement(self, Id: str) -> Mapping[str, Any]:  # noqa: N803
        statement = self.statements[Id]
        return {
            "Id": Id,
            "Status": _STATUS[statement.outcome],
            "HasResultSet": bool(statement.answer.columns),
            "ResultRows": len(statement.answer.rows) if statement.outcome else -1,
            "QueryString": statement.text,
            **({"Error": statement.error} if statement.error else {}),
        }

    def cancel_statement(self, Id: str) -> Mapping[str, Any]:  # noqa: N803
        if not self.statements.cancel(self.statements[Id]):
            raise ServiceError("ValidationException", "Could not cancel a query that is already in a final state")
        return {"Status": True}

    def get_statement_result(self, Id: str, NextToken: str = "0") -> Mapping[str, Any]:  # noqa: N803
        answer, first = self.statements[Id].answer, int(NextToken)
        if not answer.columns:
            raise ServiceError("ResourceNotFoundException", "Query does not have result")
        last = first + self.page_rows
        return {
            "Records": [[_field(value) for value in row] for row in answer.rows[first:last]],
            "ColumnMetadata": [{"name": name} for name in answer.columns],
            "TotalNumRows": len(answer.rows),
            **({"NextToken": str(last)} if last < len(answer.rows) else {}),
        }

    def _execute(self, statement: Statement) -> Rows:
        text = _COMMENT.sub("", statement.text).strip()
        if found := _SCHEMA.fullmatch(text):
            self._schemas.setdefault(found["schema"], _unquoted(found["database"]))
            return Rows()
        if found := _UNLOAD.fullmatch(text):
            self._unload(_unquoted(found["select"]), _unquoted(found["place"]), found["options"])
            return Rows()
        return self._select(text)

    def _select(self, text: str) -> Rows:
        statement = sqlglot.parse_one(text, read="redshift")
        for extract in statement.find_all(exp.Extract):
            if isinstance(extract.expression, exp.Sub):
                raise EngineError("EXTRACT takes no interval")
        return run(statement.transform(_as_duckdb), self._find, ["regexp_replace"])

    def _find(self, table: exp.Table) -> pa.Table | None:
        if not table.db:
            return None
        if table.db not in self._schemas:
            raise EngineError(f'schema "{table.db}" does not exist')
        return self.tables.rows(self._schemas[table.db], table.name, partition_conditions(table))

    def _unload(self, select: str, place: str, options: str) -> None:
        given = _OPTIONS.findall(options)
        if _OPTIONS.sub("", options) or not {"CSV", "DELIMITER AS '|'", "HEADER", "PARALLEL OFF"} <= set(given):
            raise EngineError(f"syntax error at or near {options!r}")
        parsed = sqlglot.parse_one(select, read="redshift")
        if ";" in select.rstrip()[-1:] or parsed.args.get("limit"):
            raise EngineError("the SELECT of UNLOAD takes no semicolon, and no LIMIT outside")
        bucket, _, prefix = place.removeprefix("s3://").partition("/")
        if "ALLOWOVERWRITE" not in given and self._s3.list_objects_v2(Bucket=bucket, Prefix=prefix).get("KeyCount"):
            raise EngineError("Specified unload destination on S3 is not empty. Consider another bucket or prefix")
        answer = self._select(select)
        entries = []
        for number, (content, records) in enumerate(self._parts(answer)):
            key = f"{prefix}{number:03}"
            self._s3.put_object(Bucket=bucket, Key=key, Body=content)
            meta = {"content_length": len(content), "record_count": records}
            entries.append({"url": f"s3://{bucket}/{key}", "meta": meta})
        if "MANIFEST VERBOSE" in given:
            total = {name: sum(each["meta"][name] for each in entries) for name in ("content_length", "record_count")}
            manifest = {"entries": entries, "meta": total, "author": {"name": "Amazon Redshift", "version": "1.0.0"}}
            self._s3.put_object(Bucket=bucket, Key=f"{prefix}manifest", Body=json.dumps(manifest).encode())

    def _parts(self, answer: Rows) -> Iterator[tuple[bytes, int]]:
        """Files with their records, each with a header that counts as one."""
        header = _line(answer.columns)
        lines: list[str] = []
        for row in answer.rows:
            lines.append(_line(row))
            if sum(map(len, lines)) >= self.part_bytes:
                yield (header + "".join(lines)).encode(), len(lines) + 1
                lines = []
        if lines:
            yield (header + "".join(lines)).encode(), len(lines) + 1
        elif not answer.rows and self.of_nothing != "no object":
            yield (b"", 0) if self.of_nothing == "empty" else (header.encode(), 1)


def _as_duckdb(node: exp.Expression) -> exp.Expression:
    """REGEXP_REPLACE replaces every match, and knows groups as `$1`; text of any length is VARCHAR(MAX).

    A quotient of whole numbers is whole, as DATEDIFF is one.
    """
    if isinstance(node, exp.Div) and isinstance(node.left, exp.TsOrDsDiff):
        return exp.IntDiv(this=node.left, expression=node.right)
    if isinstance(node, exp.DataType) and node.is_type("varchar"):
        return exp.DataType.build("varchar")
    if not isinstance(node, exp.RegexpReplace):
        return node
    replacement = exp.Literal.string(re.sub(r"\$(\d)", r"\\\1", node.args["replacement"].name))
    arguments = [node.this, node.expression, replacement, exp.Literal.string("g")]
    return exp.Anonymous(this="regexp_replace", expressions=arguments)


def _unquoted(literal: str) -> str:
    return literal[1:-1].replace("''", "'")


def _line(values: Sequence[Any]) -> str:
    return "|".join(map(_text, values)) + "\n"


def _text(value: Any) -> str:
    """A value as UNLOAD writes it: null as nothing, and so is empty text; floating point with 15 digits."""
    match value:
        case None:
            return ""
        case float():
            return f"{value:.15g}"
        case datetime():
            return value.isoformat(" ")
        case str() if re.search(r'[|"\r\n]', value):
            return '"' + value.replace('"', '""') + '"'
    return str(value)


def _field(value: Any) -> Mapping[str, Any]:
    fields: Sequence[tuple[type, str, Callable[[Any], Any]]] = (
        (bool, "booleanValue", bool), (int, "longValue", int), (float, "doubleValue", float), (str, "stringValue", str),
        (Decimal, "stringValue", str), (datetime, "stringValue", str), (date, "stringValue", str),
    )  # fmt: skip
    for type_, name, convert in fields:
        if isinstance(value, type_):
            return {name: convert(value)}
    if value is None:
        return {"isNull": True}
    raise TypeError(f"{type(value)} has no field")
