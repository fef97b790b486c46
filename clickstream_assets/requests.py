"""Run requests: ranges of partitions, each in one run."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import dagster as dg
from dagster._core.storage.dagster_run import NOT_FINISHED_STATUSES

from clickstream_assets.partitions import range_tags

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
            run_key=f"{first}/{last}/{attempt}" if attempt else None,
            run_config={"ops": {asset: {"config": told} for asset, told in (config or {}).items()}},
            asset_selection=[dg.AssetKey(asset) for asset in assets] if assets else None,
            tags={**range_tags(first, last), BECAUSE: because},
        )


def is_running(job: str, instance: dg.DagsterInstance) -> bool:
    """Whether a run of a job is queued or under way: what it is about to do need not be asked for again."""
    return instance.get_runs_count(dg.RunsFilter(job_name=job, statuses=NOT_FINISHED_STATUSES)) > 0
