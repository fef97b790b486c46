"""Spark job `flatten`: event hours of `flattened_events`, from the enriched files that hold their events."""

from functools import partial
from typing import TYPE_CHECKING

from streaming.domain.tables import ENRICHED_EVENTS, FLATTENED_EVENTS
from streaming.jobs.session import Saved, open_job, read, save, write_all
from streaming.jobs.work import FlattenedHour, FlattenWork

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def main() -> None:
    """Write every hour that Dagster asks for."""
    with open_job("flatten", FlattenWork) as (job, work):
        write_all(job, work.hours, partial(flatten, work))


def flatten(work: FlattenWork, spark: "SparkSession", hour: FlattenedHour) -> Saved:
    """Write one event hour."""
    read(spark, ENRICHED_EVENTS, hour.enriched).createOrReplaceTempView("enriched_events")
    bounds = [f"{moment:%Y-%m-%d %H:%M:%S}" for moment in (hour.start, hour.end)]
    return Saved(save(spark.sql(work.statement, args=bounds), work.order, FLATTENED_EVENTS, hour.target))


if __name__ == "__main__":
    main()
