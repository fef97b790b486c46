"""What the Spark jobs share: what they are told, their session, and how they read tables and write partitions."""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from datetime import datetime
from functools import partial, reduce
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import dagster_pipes
import msgspec
import pyarrow as pa

from streaming.domain.layout import HOUR
from streaming.domain.tables import Table
from streaming.edges.aws import client
from streaming.edges.parquet import arrow_schema, write_row_groups
from streaming.jobs.files import open_output
from streaming.jobs.work import LakeFile, Target, Written

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

# As everywhere here: UTC, without a zone. What does not fit its type fails, in every version of Spark.
_SETTINGS = {
    "spark.sql.ansi.enabled": "true",
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.timestampType": "TIMESTAMP_NTZ",
    # Rows that are in memory at once where one writes a partition; some carry much in `extra`.
    "spark.sql.execution.arrow.maxRecordsPerBatch": "2000",
}

Work = TypeVar("Work")
Hour = TypeVar("Hour")


class Job(NamedTuple):
    """A job that runs: its line to Dagster, and Spark."""

    pipes: dagster_pipes.PipesContext
    spark: "SparkSession"


class Saved(NamedTuple):
    """A partition that is written: its rows, and files of what failed on the way."""

    rows: int
    failures: Sequence[str] = ()


@contextmanager
def open_job(name: str, kind: type[Work]) -> Iterator[tuple[Job, Work]]:
    """The job, and what it is told. What fails in the block is reported, and fails the job."""
    from pyspark.sql import SparkSession  # noqa: PLC0415  only where Spark is

    with _open_pipes() as pipes:
        work = msgspec.convert(pipes.extras, kind)
        spark = SparkSession.builder.appName(name).config(map=_SETTINGS).getOrCreate()
        pipes.log.info(f"{name} on Spark {spark.version}, {spark.sparkContext.applicationId}")
        try:
            yield Job(pipes, spark), work
        finally:
            spark.stop()


def write_all(job: Job, hours: Sequence[Hour], write: Callable[["SparkSession", Hour], Saved]) -> None:
    """Write partitions, as many at once as Spark has room for, and report each."""
    context = job.spark.sparkContext
    with ThreadPoolExecutor(context.defaultParallelism) as threads:
        try:
            waiting = [threads.submit(_timed, job.spark, hour, write) for hour in hours]
            for done in as_completed(waiting):
                job.pipes.report_custom_message(msgspec.to_builtins(done.result()))
        except BaseException:
            threads.shutdown(wait=False, cancel_futures=True)
            context.cancelAllJobs()
            raise


def read(spark: "SparkSession", table: Table, files: Sequence[LakeFile]) -> "DataFrame":
    """Parquet files of a table as one, in its columns and types; of a file with an hour, the rows that arrived then."""
    from pyspark.sql.pandas.types import from_arrow_schema  # noqa: PLC0415
    from pyspark.sql.types import StructField, StructType, TimestampNTZType, TimestampType  # noqa: PLC0415

    declared = from_arrow_schema(arrow_schema(table), prefer_timestamp_ntz=True)
    # Who wrote a file decides whether its timestamps have a zone. It is UTC; with one, all of them can be read.
    zoned = StructType(
        [
            StructField(field.name, TimestampType() if field.dataType == TimestampNTZType() else field.dataType)
            for field in declared
        ]
    )
    columns = [f"CAST({field.name} AS {field.dataType.simpleString()}) AS {field.name}" for field in declared]
    reader = spark.read.format("parquet").schema(zoned)
    parts = [
        _arrived(reader.load([file.path for file in files if file.hour == hour]).selectExpr(*columns), hour)
        for hour in sorted({file.hour for file in files}, key=str)
    ]
    return reduce(lambda left, right: left.unionByName(right), parts) if parts else spark.createDataFrame([], declared)


def save(rows: "DataFrame", order: Sequence[str], table: Table, target: Target) -> int:
    """Write rows to one Parquet file in this order; equal rows give equal bytes. Returns how many.

    The rows are sorted by Spark, which spills, and stream through one task; a row group of them is held in memory.
    """
    write = partial(_write, target=target, schema=arrow_schema(table))
    sorted_rows = rows.select(*table.column_names).repartition(1).sortWithinPartitions(*order)
    written = sorted_rows.mapInArrow(write, "rows BIGINT").collect()
    # Of what Spark knows to be empty no task is made.
    return sum(row["rows"] for row in written or (_written_rows(batch) for batch in write(iter(()))))


def _timed(spark: "SparkSession", hour: Any, write: Callable[["SparkSession", Any], Saved]) -> Written:
    session = spark.newSession()  # of its own are the names of tables
    for name, value in _SETTINGS.items():
        session.conf.set(name, value)
    start = time.monotonic()
    saved = write(session, hour)
    seconds = round(time.monotonic() - start, 3)
    return Written(hour.target.key, *saved, seconds, spark.version, spark.sparkContext.applicationId)


def _arrived(rows: "DataFrame", hour: datetime | None) -> "DataFrame":
    if hour is None:
        return rows
    first, end = (f"TIMESTAMP_NTZ '{moment:%Y-%m-%d %H:%M:%S}'" for moment in (hour, hour + HOUR))
    return rows.where(f"arrival_timestamp >= {first} AND arrival_timestamp < {end}")


def _write(batches: Iterator[pa.RecordBatch], target: Target, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    with open_output(target.file) as sink:
        rows = write_row_groups(batches, schema, sink, target.file_metadata)
    yield pa.RecordBatch.from_pydict({"rows": [rows]})


def _written_rows(batch: pa.RecordBatch) -> dict[str, int]:
    rows: dict[str, int] = batch.to_pylist()[0]
    return rows


def _open_pipes() -> dagster_pipes.PipesContext:
    """Glue tells a job by its arguments, and is read through S3; a process of this machine has its environment."""
    arguments = dagster_pipes.PipesCliArgsParamsLoader()  # type: ignore[no-untyped-call]
    if not arguments.is_dagster_pipes_process():
        return dagster_pipes.open_dagster_pipes()
    s3 = client("s3")
    return dagster_pipes.open_dagster_pipes(
        params_loader=arguments,
        context_loader=dagster_pipes.PipesS3ContextLoader(client=s3),
        message_writer=dagster_pipes.PipesS3MessageWriter(client=s3),
    )
