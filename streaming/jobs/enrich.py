"""Spark job `enrich`: hours of arrival of `enriched_events`, every record enriched anew from raw.

Each raw file is enriched by a task of its own. The rows, and what is in landing alone, then meet by record_id, and the
statement that seals an hour is run on each share of them: by DuckDB, whose hash decides between copies.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple

import duckdb
import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from streaming.domain.enrichment import CODE_VERSION
from streaming.domain.tables import ENRICHED_EVENTS, ENRICHED_LANDING
from streaming.edges.geo.provider import open_geo
from streaming.edges.look_ups import Finder
from streaming.edges.parquet import arrow_schema, write_row_groups
from streaming.edges.secrets import resolve
from streaming.jobs.enrichment import enrich_records
from streaming.jobs.files import local_copy, open_input, open_output, read_table
from streaming.jobs.look_ups import PATIENCE_SECONDS, FixedLookUps, RecordedLookUps
from streaming.jobs.raw import RAW_IDENTITIES, RawRecord, batches, lines_of
from streaming.jobs.session import Saved, open_job, read, save, write_all
from streaming.jobs.work import EnrichedHour, EnrichWork, HandedOver, LakeFile
from streaming.settings import load_settings

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

# Of each task, which spills beyond; and rows that it passes on at once.
MEMORY_LIMIT_BYTES = 300_000_000
BATCH_ROWS = 2_000


class Part(NamedTuple):
    """A raw file to enrich: where its rows go, its identities, its failures; and the recorded places of its hour."""

    raw: LakeFile
    rows: str
    identities: str
    failures: str
    recorded: str | None


def main() -> None:
    """Write every hour that Dagster asks for."""
    with open_job("enrich", EnrichWork) as (job, work):
        parts = [part for hour in work.hours for part in parts_of(hour)]
        told = msgspec.json.encode(work.look_ups)
        tasks = job.spark.sparkContext.parallelize(parts, len(parts) or 1)
        failed = tasks.filter(partial(enrich_part, told)).map(lambda part: part.failures).collect()
        write_all(job, work.hours, partial(seal, work, set(failed)))


def parts_of(hour: EnrichedHour) -> list[Part]:
    """The raw files of an hour."""
    return [
        Part(file, f"{at}-rows.parquet", f"{at}-identities.parquet", f"{at}-failures.json", hour.recorded)
        for file, at in ((file, f"{hour.scratch}-{number}") for number, file in enumerate(hour.raw))
    ]


def enrich_part(told: bytes, part: Part) -> bool:
    """Enrich a raw file; whether some of its records failed. Their file has a line for each batch."""
    finder: Finder = look_ups(told)
    if part.recorded:
        finder = RecordedLookUps(read_table(part.recorded), finder)
    failed = False
    with (
        open_input(part.raw.path) as raw,
        open_output(part.rows) as rows,
        open_output(part.identities) as identities,
        open_output(part.failures) as failures,
        pq.ParquetWriter(rows, arrow_schema(ENRICHED_LANDING)) as enriched,
        pq.ParquetWriter(identities, arrow_schema(RAW_IDENTITIES)) as known,
    ):
        for records in batches(lines_of(raw, part.raw.hour, part.raw.raw)):
            known.write_table(_identities(records))
            answer = enrich_records(records, finder)
            enriched.write_table(answer.rows)
            if answer.failures:
                failures.write(msgspec.json.encode(answer.failures) + b"\n")
                failed = True
    return failed


@lru_cache(maxsize=1)
def look_ups(told: bytes) -> FixedLookUps:
    """What was handed over, opened once in a process.

    Raises:
        SecretError: the token of ipinfo.io cannot be read, without which every place would count as not to be found.
        ValueError: enrichment is another one here than where it was handed over.
    """
    handed_over = msgspec.json.decode(told, type=HandedOver)
    os.environ |= handed_over.settings
    settings = load_settings()
    resolve(settings.ipinfo_token or "")
    geoip = local_copy(handed_over.geoip) if handed_over.geoip else None
    geo = open_geo(replace(settings, geoip_database=geoip, lookup_deadline_seconds=PATIENCE_SECONDS))
    if not handed_over.version.startswith(f"{CODE_VERSION}/{geo.build}/"):
        raise ValueError(f"{CODE_VERSION}/{geo.build} is here, but {handed_over.version} is asked for")
    names = read_table(handed_over.names).to_pydict()
    return FixedLookUps(dict(zip(names["user_id"], names["name"], strict=True)), geo, handed_over.version)


def seal(work: EnrichWork, failed: set[str], spark: "SparkSession", hour: EnrichedHour) -> Saved:
    """Write one hour of arrival from its enriched parts, and from what is in landing alone."""
    parts = parts_of(hour)
    read(spark, ENRICHED_LANDING, hour.landing).createOrReplaceTempView("enriched_landing")
    known = [LakeFile(part.identities) for part in parts]
    read(spark, RAW_IDENTITIES, known).createOrReplaceTempView("raw_events")
    absent = spark.sql(work.absent_from_raw)
    enriched = read(spark, ENRICHED_LANDING, [LakeFile(part.rows) for part in parts])
    copies = enriched.unionByName(absent).repartition("record_id")
    once = copies.mapInArrow(partial(keep_one, work.enriched_events), copies.schema)
    rows = save(once, work.order, ENRICHED_EVENTS, hour.target)
    return Saved(rows, [part.failures for part in parts if part.failures in failed])


def keep_one(statement: str, copies: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """One row per record_id, of rows that are together by it."""
    schema = arrow_schema(ENRICHED_LANDING)
    with TemporaryDirectory() as folder:
        with open_output(f"{folder}/copies.parquet") as file:
            if not write_row_groups(copies, schema, file, {}):
                return
        limits: dict[str, Any] = {"memory_limit": f"{MEMORY_LIMIT_BYTES}B", "temp_directory": f"{folder}/spilled"}
        with duckdb.connect(config=limits | {"threads": 1, "preserve_insertion_order": False}) as connection:
            connection.from_parquet(f"{folder}/copies.parquet").create_view("enriched_landing")
            for batch in connection.execute(statement).to_arrow_reader(BATCH_ROWS):
                yield batch.cast(schema)


def _identities(records: Sequence[RawRecord]) -> pa.Table:
    columns = [[each.record_id for each in records], [each.arrival.replace(tzinfo=None) for each in records]]
    return pa.table(columns, schema=arrow_schema(RAW_IDENTITIES))


if __name__ == "__main__":
    # Tasks look up what they call in a module, which a script is not to them.
    from streaming.jobs import enrich  # noqa: PLW0406

    enrich.main()
