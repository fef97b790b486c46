"""A run with a job of Spark's that has work for hours. `python -m tests.clickstream_assets.spark_process FOLDER`"""

import sys
from datetime import datetime, timedelta
from pathlib import Path

import dagster as dg
import pyarrow.parquet as pq

from resources.spark import LocalSpark
from resources.warehouse import sql_file
from streaming.domain.tables import ENRICHED_EVENTS
from streaming.edges.parquet import arrow_schema
from streaming.jobs.work import FlattenedHour, FlattenWork, LakeFile, Target


def main(folder: Path) -> None:
    """Flatten an empty file for ten thousand hours."""
    source = LakeFile(f"{folder}/enriched.parquet")
    pq.write_table(arrow_schema(ENRICHED_EVENTS).empty_table(), source.path)
    starts = [datetime(2026, 1, 1) + timedelta(hours=hour) for hour in range(10_000)]  # noqa: DTZ001
    files = [folder / "busy", *(folder / f"{number}" for number in range(1, len(starts)))]
    hours = [
        FlattenedHour(Target(str(file), str(file), {}), start, start + timedelta(hours=1), [source])
        for file, start in zip(files, starts, strict=True)
    ]
    work = FlattenWork(sql_file("flatten/flattened_events"), ("event_timestamp", "click_id"), hours)

    @dg.asset
    def flattened(context: dg.AssetExecutionContext) -> None:
        LocalSpark(folder / "scratch").run(context, "flatten", work)

    dg.materialize([flattened])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
