"""Run requests: ranges of partitions, each in one run."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime
from typing import Any

import dagster as dg
from dagster._core.storage.dagster_run import NOT_FINISHED_STATUSES

from clickstream_assets import pending
from clickstream_assets.aggregates.registry import AGGREGATES, Aggregate
from clickstream_assets.partitions import hour_ranges, range_tags

ONLY_PENDING = {"only_pending": True}
BECAUSE = "clickstream/because"


def range_requests(
    ranges: Iterable[tuple[str, str]],
    because: str,
    assets: Sequence[str] | None = None,
    attempt: str | None = None,
    config: Mapping[str, Any] | None = None,
) -> Iterator[dg.RunRequest]:
    """One run for each range of partition keys.

    Args:
        because: why, to be read at the run.
        assets: those of the job's assets to materialise, None for all.
        attempt: a range is requested once for each value of it; None: every time.
        config: what an asset is told, by its name.
    """
    for first, last in ranges:
        yield dg.RunRequest(
            run_key="/".join((first, last, attempt, *(assets or ()))) if attempt else None,
            run_config={"ops": {asset: {"config": told} for asset, told in (config or {}).items()}},
            asset_selection=[dg.AssetKey(asset) for asset in assets] if assets else None,
            tags={**range_tags(first, last), BECAUSE: because},
        )


def flatten_requests(hours: Iterable[datetime], because: str, attempt: str | None = None) -> Iterator[dg.RunRequest]:
    """A few runs that flatten these hours and pass by what lies between them."""
    told = {"flattened_events": ONLY_PENDING}
    return range_requests(hour_ranges(hours, pending.MOST_RUNS), because, attempt=attempt, config=told)


def aggregate_requests(
    behind: Mapping[date, Collection[Aggregate]], because: str, attempt: str | None = None
) -> Iterator[dg.RunRequest]:
    """A few runs that bring these aggregates of these days up to date and pass by what lies between them."""
    for first_and_last, names in pending.aggregate_ranges(behind).items():
        told = {aggregate.name: ONLY_PENDING for aggregate in AGGREGATES if aggregate.name in names}
        yield from range_requests([first_and_last], because, names, attempt, told)


def is_running(job: str, instance: dg.DagsterInstance) -> bool:
    """Whether a run of a job is queued or under way: what it is about to do need not be asked for again."""
    return instance.get_runs_count(dg.RunsFilter(job_name=job, statuses=NOT_FINISHED_STATUSES)) > 0
