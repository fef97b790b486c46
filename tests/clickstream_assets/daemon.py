"""Dagster's daemon, a tick at a time."""

import dagster as dg
from dagster._core.storage.tags import ASSET_PARTITION_RANGE_END_TAG, ASSET_PARTITION_RANGE_START_TAG

from resources.lake import DirectoryLake
from tests.clickstream_assets.conftest import NOW, DeliveryTo

Range = tuple[str, str]


class Daemon:
    """Evaluates sensors and schedules as Dagster's daemon does: keeps cursors, runs what is asked for.

    `requested`: all that was asked for so far; `edges`: what sensors and schedules are given, by role.
    """

    def __init__(
        self, definitions: dg.Definitions, instance: dg.DagsterInstance, lake: DirectoryLake, delivered: DeliveryTo
    ) -> None:
        self._definitions = definitions
        self._instance = instance
        self.edges = {"lake": lake, "delivery": delivered}
        self._cursors: dict[str, str | None] = {}
        self.requested: list[dg.RunRequest] = []

    def tick(self, sensor: str) -> list[Range]:
        """The ranges a sensor asks for; what it reports is recorded."""
        definition = self._definitions.resolve_sensor_def(sensor)
        edges = {role: edge for role, edge in self.edges.items() if role in definition.required_resource_keys}
        with dg.build_sensor_context(
            self._instance, self._cursors.get(sensor), definitions=self._definitions, resources=edges
        ) as context:
            result = definition.evaluate_tick(context)
        self._cursors[sensor] = result.cursor or self._cursors.get(sensor)
        for event in result.asset_events:
            self._instance.report_runless_asset_event(event)
        job = next((target.job_name for target in definition.targets), "")
        return self._run(job, result.run_requests or [])

    def fire(self, schedule: str) -> list[Range]:
        """The ranges a schedule asks for."""
        definition = self._definitions.resolve_schedule_def(schedule)
        edges = {role: edge for role, edge in self.edges.items() if role in definition.required_resource_keys}
        context = dg.build_schedule_context(self._instance, NOW, edges, self._definitions.get_repository_def())
        return self._run(definition.job_name, definition.evaluate_tick(context).run_requests or [])

    def _run(self, job: str, requests: list[dg.RunRequest]) -> list[Range]:
        for request in requests:
            self._definitions.resolve_job_def(job).execute_in_process(
                instance=self._instance,
                tags=request.tags,
                run_config=request.run_config,
                asset_selection=request.asset_selection,
            )
        self.requested += requests
        return [_range(request) for request in requests if ASSET_PARTITION_RANGE_START_TAG in request.tags]


def _range(request: dg.RunRequest) -> Range:
    return request.tags[ASSET_PARTITION_RANGE_START_TAG], request.tags[ASSET_PARTITION_RANGE_END_TAG]
