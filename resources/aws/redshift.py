"""The warehouse on Redshift Serverless: aggregates run on Spectrum, and are unloaded by Redshift itself.

Statements go through the Data API, so neither a driver nor a way into the network is needed. What is for this process
alone, small answers and single partitions, DuckDB runs here as in the local deployment.
"""

import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import dagster as dg

from resources.aws import redshift_sql
from resources.aws.s3.bucket import located
from resources.aws.statements import StatementError, check_size, follow, request_token, run_of
from resources.lake import Staged
from resources.warehouse import DuckDBWarehouse, Source, Sources
from streaming.domain.stack import REDSHIFT_DATABASE
from streaming.domain.tables import FLATTENED_EVENTS, Table
from streaming.edges.aws import client

ENGINE = "Redshift"
_ENDED = ("FINISHED", "FAILED", "ABORTED")
# More statements than a workgroup takes at once: the next one is submitted when another has ended.
_BUSY = ("ActiveStatementsExceededException", "ActiveSessionsExceededException")
_BUSY_PAUSE_SECONDS = 2.0
# A text and what must become of it, where Redshift reads the expression as the other engines do.
_FORMULA, _NEUTRALISED = "x; =1,@a|＋", "x; '=1,'@a|'＋"


class RedshiftData:
    """Statements of one run, through the Data API. Safe to share between threads."""

    def __init__(self, workgroup: str, run: str, timeout_seconds: float) -> None:
        self._workgroup = workgroup
        self._run = run
        self._timeout_seconds = timeout_seconds
        self._api = client("redshift-data")

    def run(self, statement: str) -> Mapping[str, Any]:
        """Run a statement to its end; returns its description. The same one within a run runs once.

        Interrupted, or past its time, it is cancelled.

        Raises:
            StatementError: Redshift failed it, or did not end it in time.
        """
        check_size(ENGINE, statement, redshift_sql.MOST_BYTES)
        statement_id = self._submit(statement)
        description = follow(
            ENGINE,
            statement,
            lambda: self._ended(statement_id),
            lambda: self._api.cancel_statement(Id=statement_id),
            self._timeout_seconds,
        )
        if description["Status"] != "FINISHED":
            raise StatementError(ENGINE, description.get("Error") or description["Status"].lower(), statement)
        return description

    def rows(self, statement: str) -> Iterator[tuple[Any, ...]]:
        """The rows of a SELECT, page by page.

        Raises:
            StatementError: as `run`.
        """
        description = self.run(statement)
        pages = self._api.get_paginator("get_statement_result").paginate(Id=description["Id"])
        for page in pages:
            for record in page["Records"]:
                yield tuple(None if field.get("isNull") else next(iter(field.values())) for field in record)

    def _submit(self, statement: str) -> str:
        deadline = time.monotonic() + self._timeout_seconds
        while True:
            try:
                submitted = self._api.execute_statement(
                    WorkgroupName=self._workgroup,
                    Database=REDSHIFT_DATABASE,
                    Sql=statement,
                    ClientToken=request_token(self._run, statement),
                )
            except self._api.exceptions.ClientError as error:
                if error.response["Error"]["Code"] not in _BUSY or time.monotonic() > deadline:
                    raise StatementError(ENGINE, str(error), statement) from error
                time.sleep(_BUSY_PAUSE_SECONDS)
            else:
                return str(submitted["Id"])

    def _ended(self, statement_id: str) -> Mapping[str, Any] | None:
        description: Mapping[str, Any] = self._api.describe_statement(Id=statement_id)
        return description if description["Status"] in _ENDED else None


class RedshiftWarehouse(DuckDBWarehouse):
    """Unloads by Redshift, straight to the lake; all else by DuckDB in process."""

    def __init__(self, redshift: RedshiftData, memory_limit_bytes: int, temp_directory: Path) -> None:
        super().__init__(memory_limit_bytes, temp_directory)
        self._redshift = redshift
        self._s3 = client("s3")
        self._takes_formulas_out = False
        self._reads_time = False

    def unload(
        self,
        statement: str,
        parameters: Sequence[Any],
        sources: Sources,
        file: "os.PathLike[str]",
        table: Table,
    ) -> int:
        """Write the answer under the staged partition's prefix, in as many files as Redshift makes of it.

        Raises:
            StatementError: Redshift failed it, did not end it in time, or does not read the lake as DuckDB does.
            ValueError: the partition is not staged on S3.
        """
        if not isinstance(file, Staged) or file.prefix is None:
            raise ValueError("Redshift unloads to S3 alone: there is no prefix to write to")
        self._prove_text()
        self._prove_time(sources)
        select = redshift_sql.answer(statement, parameters, sources, table)
        self._redshift.run(redshift_sql.unload(select, file.prefix))
        return self._rows_unloaded(file.prefix, table)

    def _prove_text(self) -> None:
        """See, once, to it that formulas are taken out of text."""
        if self._takes_formulas_out:
            return
        (told,) = self._redshift.rows(f"SELECT {redshift_sql.neutralised(_FORMULA)}")
        if told != (_NEUTRALISED,):
            raise StatementError(ENGINE, f"REGEXP_REPLACE made {told[0]!r} of a formula", _FORMULA)
        self._takes_formulas_out = True

    def _prove_time(self, sources: Sources) -> None:
        """See, once, to it that an hour's rows are of that hour: where Spectrum misread time, days would be empty."""
        match sources.get(FLATTENED_EVENTS.name):
            case Source(partitions=(datetime() as hour, _)) as flattened if not self._reads_time:
                statement = redshift_sql.rows_astray(flattened, hour)
                ((astray,),) = self._redshift.rows(statement)
                if astray:
                    reason = f"{astray} rows of {hour:%Y-%m-%d %H:00} are read as of other hours"
                    raise StatementError(ENGINE, reason, statement)
                self._reads_time = True

    def _rows_unloaded(self, prefix: str, table: Table) -> int:
        """Count the rows by UNLOAD's manifest, which then goes: readers take every object of the prefix for rows."""
        bucket, folder = located(prefix, self._s3)
        manifest = bucket.read(f"{folder}manifest")
        if manifest is None:
            raise FileNotFoundError(f"Redshift left no manifest below {prefix}")
        entries = json.loads(manifest).get("entries", [])
        files = [entry["meta"] for entry in entries if entry["meta"]["content_length"]]
        if not files:  # an answer without rows may be an empty object, or none
            header = "|".join(table.column_names) + "\n"
            bucket.put(f"{folder}000", header.encode(), {})
        bucket.delete([f"{folder}manifest"])
        return sum(int(file["record_count"]) - 1 for file in files)  # each counts its header


class RedshiftWarehouseResource(dg.ConfigurableResource[RedshiftWarehouse]):
    """Redshift Serverless of a stack, and DuckDB in process within `memory_limit_bytes`."""

    stack: str
    statement_timeout_seconds: float
    memory_limit_bytes: int
    temp_directory: str

    def create_resource(self, context: dg.InitResourceContext) -> RedshiftWarehouse:
        redshift = RedshiftData(self.stack, run_of(context), self.statement_timeout_seconds)
        return RedshiftWarehouse(redshift, self.memory_limit_bytes, Path(self.temp_directory))
