"""Job `replay_failed_events`."""

from datetime import datetime
from typing import Any

import dagster as dg
from pydantic import Field

from clickstream_assets.failed.replay import Choice, ConsumerFailingError, Function, Replayed, replay
from clickstream_assets.metadata import preview
from clickstream_assets.partitions import hour_key, hour_of_key
from resources.lake import Lake
from resources.look_ups import EnrichmentSources
from resources.warehouse import Warehouse
from streaming.domain.failures import FailureType
from streaming.handlers import high_intent, last_access

FUNCTIONS: dict[str, Function] = {
    "last_access": last_access.lambda_handler,
    "high_intent": high_intent.lambda_handler,
}


class ReplayConfig(dg.Config):
    """Which failures to replay: of these types, stages and record_ids, in these hours of arrival (`2026-11-23-04:00`).

    What is left out chooses all. Where nothing is chosen, `everything` says that all is meant, or the run is a dry one.
    """

    types: list[str] = Field(default_factory=list)
    stages: list[str] = Field(default_factory=list)
    record_ids: list[str] = Field(default_factory=list)
    first_hour: str | None = None
    last_hour: str | None = None
    everything: bool = False
    dry_run: bool = False

    @property
    def choice(self) -> Choice:
        """The choice; raises dg.Failure where it cannot be meant."""
        if unknown := set(self.types) - set(FailureType):
            raise dg.Failure(f"no failure type {', '.join(sorted(unknown))}; there are {', '.join(FailureType)}")
        first, last = (_hour(key) for key in (self.first_hour, self.last_hour))
        choice = Choice(tuple(self.types), tuple(self.stages), tuple(self.record_ids), first, last)
        if choice == Choice() and not self.everything and not self.dry_run:
            raise dg.Failure("nothing is chosen; set everything: true to replay every failed event")
        return choice


@dg.op(pool="failed_events")
def replay_chosen_failures(
    context: dg.OpExecutionContext,
    config: ReplayConfig,
    lake: dg.ResourceParam[Lake],
    warehouse: dg.ResourceParam[Warehouse],
    look_ups: dg.ResourceParam[EnrichmentSources],
) -> dict[str, Any]:
    """Replay failed events; sensors then seal, balance, flatten and aggregate what that touched."""
    try:
        replayed = replay(config.choice, lake, warehouse, look_ups.live, FUNCTIONS, dry_run=config.dry_run)
    except ConsumerFailingError as error:
        raise dg.Failure(f"{error}; what was replayed before stays", allow_retries=False) from error
    if not config.dry_run:
        for hour in replayed.hours:
            context.log_event(dg.AssetObservation("replays", partition=hour_key(hour)))
    outcome = described(replayed)
    context.add_output_metadata(
        {
            **{name: outcome[name] for name in ("dry_run", "chosen")},
            "passed": replayed.passed.total(),
            "passed_by_type": dg.MetadataValue.json(outcome["passed"]),
            "failed_again": replayed.failed_again.total(),
            "faults": preview(outcome["failed_again"]),
            "hours": dg.MetadataValue.json(outcome["hours"]),
        }
    )
    return outcome


@dg.job(description="Failed events that pass now are landed, or given to their Lambda again.")
def replay_failed_events() -> None:
    """What fails again stays as it is, and `replays` tells why."""
    replay_chosen_failures()


def described(replayed: Replayed) -> dict[str, Any]:
    """The outcome as JSON has it: `dry_run`, `chosen`, `passed` by type, `failed_again` by fault, `hours`."""
    return {
        "dry_run": replayed.dry_run,
        "chosen": replayed.chosen,
        "passed": dict(replayed.passed),
        "failed_again": [
            {"type": fault[0], "field": fault[1], "records": records, "reason": replayed.reasons[fault]}
            for fault, records in replayed.failed_again.most_common()
        ],
        "hours": [hour_key(hour) for hour in replayed.hours],
    }


def _hour(key: str | None) -> datetime | None:
    try:
        return hour_of_key(key) if key else None
    except ValueError:
        raise dg.Failure(f"an hour is written 2026-11-23-04:00, not {key!r}") from None
