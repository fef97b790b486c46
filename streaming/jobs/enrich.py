"""Spark job `enrich`: hours of arrival of `enriched_events`, every record enriched anew from raw.

Each raw file is enriched by a task of its own; the rows and what is in landing alone then make the sealed hour.
"""

import os
from dataclasses import replace
from functools import lru_cache, partial
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import pyarrow.parquet as pq

from streaming.domain.enrichment import CODE_VERSION
from streaming.domain.tables import ENRICHED_EVENTS, ENRICHED_LANDING
from streaming.edges.geo_provider import open_geo
from streaming.edges.look_ups import Finder
from streaming.edges.parquet import arrow_schema
from streaming.jobs.enrichment import enrich_records
from streaming.jobs.files import local_copy, open_input, open_output, read_table
from streaming.jobs.look_ups import PATIENCE_SECONDS, FixedLookUps, RecordedLookUps
from streaming.jobs.raw import RAW_IDENTITIES, raw_records
from streaming.jobs.session import Saved, open_job, read, save, write_all
from streaming.jobs.work import EnrichedHour, EnrichWork, HandedOver, LakeFile
from streaming.settings import load_settings

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


class Part(NamedTuple):
    """A raw file to enrich: where its rows go, where its failures, and the recorded places of its hour."""

    raw: LakeFile
    rows: str
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
        Part(file, f"{hour.scratch}-{number}.parquet", f"{hour.scratch}-{number}.json", hour.recorded)
        for number, file in enumerate(hour.raw)
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
        open_output(part.failures) as lines,
        pq.ParquetWriter(rows, arrow_schema(ENRICHED_LANDING)) as writer,
    ):
        for records in raw_records([raw], hour=part.raw.hour):
            enriched = enrich_records(records, finder)
            writer.write_table(enriched.rows)
            if enriched.failures:
                lines.write(msgspec.json.encode(enriched.failures) + b"\n")
                failed = True
    return failed


@lru_cache(maxsize=1)
def look_ups(told: bytes) -> FixedLookUps:
    """What was handed over, opened once in a process."""
    handed_over = msgspec.json.decode(told, type=HandedOver)
    os.environ |= handed_over.settings
    geoip = local_copy(handed_over.geoip) if handed_over.geoip else None
    geo = open_geo(replace(load_settings(), geoip_database=geoip, lookup_deadline_seconds=PATIENCE_SECONDS))
    if not handed_over.version.startswith(f"{CODE_VERSION}/{geo.build}/"):
        raise ValueError(
            f"asked for {handed_over.version}, this is {CODE_VERSION}/{geo.build}: jobs.zip is not of Dagster"
        )
    names = read_table(handed_over.names).to_pydict()
    return FixedLookUps(dict(zip(names["user_id"], names["name"], strict=True)), geo, handed_over.version)


def seal(work: EnrichWork, failed: set[str], spark: "SparkSession", hour: EnrichedHour) -> Saved:
    """Write one hour of arrival from its enriched parts, and from what is in landing alone."""
    parts = parts_of(hour)
    read(spark, ENRICHED_LANDING, hour.landing).createOrReplaceTempView("enriched_landing")
    read(spark, RAW_IDENTITIES, hour.raw).createOrReplaceTempView("raw_events")
    absent = spark.sql(work.absent_from_raw)
    enriched = read(spark, ENRICHED_LANDING, [LakeFile(part.rows) for part in parts])
    enriched.unionByName(absent).createOrReplaceTempView("enriched_landing")
    rows = save(spark.sql(work.enriched_events), work.order, ENRICHED_EVENTS, hour.target)
    return Saved(rows, [part.failures for part in parts if part.failures in failed])


if __name__ == "__main__":
    main()
