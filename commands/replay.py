"""`./run replay`: failed events that pass now are landed, and the tables follow."""

import json
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import click
import dagster as dg
from dagster._core.errors import DagsterUserCodeExecutionError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from clickstream_assets.catch_up import RunsFailedError, catch_up
from clickstream_assets.definitions import build_definitions, opened_edges
from clickstream_assets.failed import replay as core
from clickstream_assets.failed.job import replay_failed_events
from clickstream_assets.partitions import hour_key
from commands.cli import say
from commands.platform import dagster_environment, running_settings
from streaming.domain.failures import FailureType
from streaming.domain.layout import hour_of
from streaming.settings import Settings

_QUIET = {"console": {"config": {"log_level": "CRITICAL"}}}


class Hour(click.ParamType[datetime]):
    """An hour of arrival, UTC."""

    name = "hour"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """Any moment of the hour: `2026-11-23T04`, `2026-11-23 04:05`, or a partition key."""
        for form in ("%Y-%m-%d-%H:%M", "%Y-%m-%dT%H", "%Y-%m-%d %H"):
            try:
                return datetime.strptime(value, form).replace(tzinfo=UTC)
            except ValueError:
                continue
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is no hour; write 2026-11-23T04", param, ctx)
        return hour_of(moment if moment.tzinfo else moment.replace(tzinfo=UTC))


@click.command()
@click.option(
    "--type",
    "types",
    multiple=True,
    type=click.Choice([each.value for each in FailureType]),
    help="Failures of this type.",
)
@click.option("--stage", "stages", multiple=True, help="Failures of this stage, such as enrichment or last_access.")
@click.option("--hour", type=Hour(), help="Arrived in this hour, UTC: 2026-11-23T04.")
@click.option("--from", "first_hour", type=Hour(), help="Arrived in this hour or later.")
@click.option("--to", "last_hour", type=Hour(), help="Arrived in this hour or earlier.")
@click.option("--record-id", "record_ids", multiple=True, help="This record.")
@click.option("--all", "everything", is_flag=True, help="Every failed event.")
@click.option("--dry-run", is_flag=True, help="Tell what would pass and what would fail again; write nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as one JSON document.")
def replay(
    types: tuple[str, ...],
    stages: tuple[str, ...],
    hour: datetime | None,
    first_hour: datetime | None,
    last_hour: datetime | None,
    record_ids: tuple[str, ...],
    everything: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Replay failed events: those that pass now are landed as they arrived, or given to their Lambda again.

    Options narrow the choice together; one that is given more than once takes each. Without any, nothing is replayed:
    it is a dry run of everything.

    \b
    ./run replay --dry-run --type timestamp_out_of_range
    ./run replay --stage last_access --from 2026-11-23T04 --to 2026-11-23T06
    ./run replay --all

    What fails again stays failed; the table replays tells why. When this returns the tables are up to date. Status 0
    unless the ledger does not balance then.
    """
    if hour and (first_hour or last_hour):
        raise click.UsageError("--hour is one hour; --from and --to are a range")
    if first_hour and last_hour and last_hour < first_hour:
        raise click.UsageError("--to is before --from")
    chosen = any((types, stages, hour, first_hour, last_hour, record_ids))
    if chosen and everything:
        raise click.UsageError("--all is every failed event; leave it out to choose")
    settings = running_settings()
    _expect_stages(stages, settings)
    config = {
        "types": list(types),
        "stages": list(stages),
        "record_ids": list(record_ids),
        "first_hour": _key(hour or first_hour),
        "last_hour": _key(hour or last_hour),
        "everything": everything,
        "dry_run": dry_run or not (chosen or everything),
    }
    os.environ |= dagster_environment(settings.home)
    outcome = _run(config, settings)
    if not config["dry_run"] and outcome["chosen"]:
        click.echo("bringing the tables up to date", err=True)
        outcome["balanced"] = _catch_up(settings)
    if as_json:
        click.echo(json.dumps(outcome))
    else:
        _show(outcome)
    if not dry_run and config["dry_run"]:
        click.echo("Nothing was replayed: --all replays all of these, other options choose.", err=True)
    if not outcome.get("balanced", True):
        sys.exit("error: the ledger does not balance")


def _expect_stages(stages: tuple[str, ...], settings: Settings) -> None:
    with opened_edges(settings, "lake") as edges:
        known = {prefix.rpartition("/")[2] for prefix in edges.lake.failed_prefixes()}
    if unknown := set(stages) - known:
        having = f"there are failures of {', '.join(sorted(known))}" if known else "nothing ever failed"
        raise click.BadParameter(f"no failures of {', '.join(sorted(unknown))}; {having}", param_hint="--stage")


def _run(config: dict[str, Any], settings: Settings) -> dict[str, Any]:
    """Run the job in the home's instance of Dagster, where it shows."""
    job = build_definitions(settings).resolve_job_def(replay_failed_events.name)
    run_config = {"ops": {"replay_chosen_failures": {"config": config}}, "loggers": _QUIET}
    with dg.DagsterInstance.get() as instance, _progress():
        try:
            result = job.execute_in_process(instance=instance, run_config=run_config)
        except dg.Failure as error:
            raise click.ClickException(error.description or "the run failed") from None
        except DagsterUserCodeExecutionError as error:
            raise click.ClickException(f"{error.user_exception}; the Dagster UI has the run's log") from error
    outcome: dict[str, Any] = result.output_for_node("replay_chosen_failures")
    return outcome


def _catch_up(settings: Settings) -> bool:
    try:
        return bool(catch_up(settings, say)["balanced"])
    except RunsFailedError as error:
        raise click.ClickException(f"{error}; the Dagster UI has their logs") from None


@contextmanager
def _progress() -> Iterator[None]:
    """Show how far the replay is, as its log tells."""
    log = logging.getLogger(core.__name__)
    columns = (TextColumn("replaying"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        handler = _Bar(bar)
        log.setLevel(logging.INFO)
        log.addHandler(handler)
        try:
            yield
        finally:
            log.removeHandler(handler)


class _Bar(logging.Handler):
    def __init__(self, bar: Progress) -> None:
        super().__init__()
        self._bar = bar
        self._task = bar.add_task("replaying", total=None)

    def emit(self, record: logging.LogRecord) -> None:
        if isinstance(record.args, tuple):
            done, total = record.args
            self._bar.update(self._task, completed=float(str(done)), total=float(str(total)))


def _show(outcome: dict[str, Any]) -> None:
    would = "would pass" if outcome["dry_run"] else "passed"
    again = "would fail again" if outcome["dry_run"] else "failed again"
    if not outcome["chosen"]:
        click.echo("no failed event is chosen")
        return
    table = Table("type", "records", "outcome", "field", "reason", box=None)
    for type_, records in outcome["passed"].items():
        table.add_row(type_, f"{records:,}", would)
    for fault in outcome["failed_again"]:
        table.add_row(fault["type"], f"{fault['records']:,}", again, fault["field"], fault["reason"])
    Console().print(table)
    if "balanced" in outcome:
        click.echo("the ledger balances" if outcome["balanced"] else "THE LEDGER DOES NOT BALANCE")


def _key(hour: datetime | None) -> str | None:
    return hour_key(hour) if hour else None
