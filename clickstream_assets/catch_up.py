"""Materialise, now and in this process, everything that has arrived and is not up to date."""

import fcntl
import os
from collections.abc import Callable, Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb

from clickstream_assets import pending
from clickstream_assets.aggregates.registry import AGGREGATES
from clickstream_assets.dashboard.assets import is_built
from clickstream_assets.dead_runs import fail_dead
from clickstream_assets.definitions import build_definitions, opened_edges
from clickstream_assets.ingestion.arrivals import arrival_events, arrivals, unreported
from clickstream_assets.jobs import AGGREGATE, BUILD_DASHBOARD, FLATTEN, REFRESH_CATALOG, REPORT, SETTLE
from clickstream_assets.ledger.balance import read_ledger
from clickstream_assets.partitions import Partitions, hour_key, hour_ranges, range_of_tags
from clickstream_assets.requests import aggregate_requests, flatten_requests, range_requests
from resources.catalog import DuckDBCatalog
from resources.delivery import DeliveryProgress
from resources.lake import Lake
from streaming.domain.tables import EVENT_LEDGER
from streaming.settings import Settings

_BECAUSE = "everything that had arrived was asked for"
_QUIET = {"loggers": {"console": {"config": {"log_level": "WARNING"}}}}


class RunsFailedError(Exception):
    """Runs of Dagster failed; the message names them."""


class CatchUp:
    """Runs the jobs of definitions on what is pending, saying which. `failed_runs`: the ids of runs that failed."""

    def __init__(
        self,
        definitions: dg.Definitions,
        partitions: Partitions,
        instance: dg.DagsterInstance,
        say: Callable[[str], None],
    ) -> None:
        self._definitions = definitions
        self._hours = partitions.hours
        self._instance = instance
        self._say = say
        self.failed_runs: list[str] = []

    def run(self, lake: Lake, progress: DeliveryProgress) -> None:
        """Bring every table up to date, layer by layer; what a red ledger blocks stays as it is."""
        fail_dead(self._instance)
        for event in arrival_events(unreported(arrivals(lake), self._instance), lake.snapshot()):
            self._instance.report_runless_asset_event(event)
        arrived = pending.arrival_hours(lake, progress)
        settled = hour_ranges(self._known([*arrived.closed, *arrived.open]))
        self._run(SETTLE, range_requests(settled, _BECAUSE))
        self._run(FLATTEN, flatten_requests(self._known(pending.event_hours(lake)), _BECAUSE))
        self._run(AGGREGATE, aggregate_requests(pending.days(lake), _BECAUSE))
        self._run(BUILD_DASHBOARD, [] if is_built(lake) else [dg.RunRequest()])
        self._run(REPORT, [dg.RunRequest()])
        self._run(REFRESH_CATALOG, [dg.RunRequest()])

    def _run(self, job: str, requests: Iterable[dg.RunRequest]) -> None:
        for request in requests:
            self._say(f"{job} {' to '.join(range_of_tags(request.tags))}".rstrip())
            result = self._definitions.resolve_job_def(job).execute_in_process(
                instance=self._instance,
                tags=request.tags,
                run_config={**_QUIET, **request.run_config},
                asset_selection=request.asset_selection,
                raise_on_error=False,
            )
            if not result.success:
                self.failed_runs.append(result.run_id)

    def _known(self, hours: Iterable[datetime]) -> list[datetime]:
        return [hour for hour in hours if self._hours.has_partition_key(hour_key(hour))]


def accounted(lake: Lake) -> dict[str, Any]:
    """The ledger, summed: records `raw`, `enriched`, `failed`; and `balanced`, whether none is missing or unknown."""
    lake = lake.snapshot()
    hours = read_ledger(lake.hours(EVENT_LEDGER), lake)
    return {
        "raw": sum(hour.raw_records for hour in hours),
        "enriched": sum(hour.enriched_records for hour in hours),
        "failed": sum(hour.failed_records for hour in hours),
        "balanced": not any(hour.missing_records or hour.unknown_records for hour in hours),
    }


def row_counts(catalog: Path) -> dict[str, Any]:
    """The rows of tables that are made from events: `flattened`, and `aggregates` by name."""
    with duckdb.connect(catalog, read_only=True) as connection:

        def rows(table: str) -> int:
            return int(connection.table(table).count("*").fetchall()[0][0])

        aggregates = {aggregate.name: rows(aggregate.name) for aggregate in AGGREGATES}
        return {"flattened": rows("flattened_events"), "aggregates": aggregates}


def catch_up(settings: Settings, say: Callable[[str], None]) -> dict[str, Any]:
    """Materialise everything that is pending, in the instance of DAGSTER_HOME; what is `accounted` for then, and the
    `row_counts` where the catalog is a file. A red ledger is told by the answer, and each run as it begins by `say`.

    Raises:
        RunsFailedError: runs failed for another reason.
    """
    definitions = build_definitions(settings)
    with _instance() as instance, opened_edges(settings, "lake", "delivery", "catalog_database") as edges:
        catching_up = CatchUp(definitions, Partitions.since(settings.start), instance, say)
        catching_up.run(edges.lake, edges.delivery.progress())
        tables = accounted(edges.lake)
        if isinstance(edges.catalog_database, DuckDBCatalog):  # elsewhere counting would fetch the whole lake
            tables |= row_counts(edges.catalog_database.file)
    if catching_up.failed_runs and tables["balanced"]:
        raise RunsFailedError(f"these runs failed: {', '.join(catching_up.failed_runs)}")
    return tables


def _instance() -> dg.DagsterInstance:
    """The instance of DAGSTER_HOME. Two processes that open a new one at once would leave it with tables half made."""
    with Path(os.environ["DAGSTER_HOME"], "opening.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return dg.DagsterInstance.get()
