"""`./run status`: what a person on call needs to see of the platform, at a glance."""

import json
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import asdict
from datetime import UTC, datetime
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple, NoReturn
from urllib.parse import urlsplit

import click
import msgspec
from rich.box import SIMPLE, SIMPLE_HEAD
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from commands.aws.errors import advice
from commands.platform import platform_settings
from streaming.edges.event_stream import EVENTS
from streaming.edges.streams import open_event_stream
from streaming.runtime.health.alerts import Alert, active_alerts, named_hours
from streaming.runtime.health.ledger import RECENT_HOURS, STATES, Recent, share
from streaming.runtime.health.report import (
    CONSUMERS,
    Health,
    Process,
    ShardBacklog,
    StreamHealth,
    measure,
    processes,
    refused_events,
)
from streaming.runtime.supervisor import running_system
from streaming.settings import SettingError, Settings, load_home, load_settings

ADDRESSES = (
    "COLLECTOR_URL", "DAGSTER_URL", "DASHBOARD_URL", "METRICS_URL", "REDIS_URL", "CACHE_REDIS_URL", "MYSQL_URL",
)  # fmt: skip
UNKNOWN = 3
EXIT_STATUS = {"well": 0, "warning": 1, "critical": 2, "stopped": UNKNOWN}
STYLES = {"well": "green", "warning": "yellow", "critical": "bold red", "stopped": ""}
RATE_SECONDS = 0.5
REFRESH_SECONDS = 2.0


class Refused(NamedTuple):
    """Events refused until a moment, by type; None where the collector did not answer."""

    at: datetime
    events: dict[str, float] | None


class Report(NamedTuple):
    """The health at one moment, with what takes two looks or a threshold to say."""

    health: Health
    alerts: list[Alert]
    refused_per_second: dict[str, float] | None
    addresses: dict[str, str]

    @property
    def state(self) -> str:
        """`stopped` where nothing runs, else `well` or the worst of the alerts."""
        return worst(self.alerts) if self.health.processes else "stopped"


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.option("--watch", is_flag=True, help="Look again every two seconds, until Ctrl-C.")
def status(as_json: bool, watch: bool) -> None:
    """Show what a person on call needs: alerts, ingest, backlog, delivery, ledger, failures, processes, addresses.

    \b
    Exit status, as monitoring plugins have it:
      0  all is well
      1  a warning is active
      2  a critical alert is active
      3  nothing runs in this home, a setting cannot be used, or AWS does not answer

    On AWS it shows alerts, how far the tables are, and where CloudWatch shows the rest.
    """
    try:
        settings = load_settings()
        if settings.deployment == "aws":
            _show_aws(platform_settings(), as_json)
        if watch:
            _watch(as_json)
            return
        report = look(settings)
    except SettingError as error:
        _show_processes(str(error), as_json)
    except Exception as error:
        if (told := advice(error)) is None:
            raise
        _show_processes(told, as_json)
    _print(Console(), report, as_json)
    sys.exit(EXIT_STATUS[report.state])


def _show_processes(error: str, as_json: bool) -> NoReturn:
    """Show what is known without settings, and without AWS."""
    click.echo(f"error: {error}; only processes can be shown", err=True)
    home = load_home()
    running = processes(home)
    if as_json:
        known = {name: asdict(process) for name, process in running.items()}
        click.echo(json.dumps({"state": "unknown", "healthy": False, "error": error, "processes": known}))
    else:
        Console().print(_processes(running) if running else _nothing_runs(home))
    sys.exit(UNKNOWN)


def _show_aws(settings: Settings, as_json: bool) -> NoReturn:
    """Show alerts, how far the tables are, and where the rest is watched."""
    from commands.aws import status as aws  # loads Dagster, which the status of one machine does without

    report = aws.look(settings)
    aws.show(report, as_json)
    sys.exit(EXIT_STATUS[report.state])


def look(settings: Settings, before: Refused | None = None) -> Report:
    """Measure, and count refused events twice where there is no earlier look to tell their rates from."""
    if before is None:
        before = Refused(datetime.now(UTC), refused_events(settings) if running_system(settings.home) else None)
        time.sleep(RATE_SECONDS if before.events is not None else 0)
    health = measure(settings)
    environment = (running_system(settings.home) or {}).get("environment", {})
    return Report(
        health,
        active_alerts(health, settings),
        _rates(before, Refused(health.at, health.refused)),
        {name: without_password(environment[name]) for name in ADDRESSES if name in environment},
    )


def document(report: Report) -> dict[str, Any]:
    """The report in JSON's types; times are ISO 8601 in UTC."""
    health: dict[str, Any] = msgspec.to_builtins(report.health, enc_hook=str)
    return {
        "state": report.state,
        "healthy": report.state == "well",
        "alerts": [alert._asdict() for alert in report.alerts],
        "refused_per_second": report.refused_per_second,
        "addresses": report.addresses,
        **health,
    }


def without_password(url: str) -> str:
    """A server's address, fit to be shown."""
    password = urlsplit(url).password
    return url if password is None else url.replace(f":{password}@", ":***@", 1)


def records_behind(settings: Settings) -> int:
    """Records that some consumer of a stream that counts them has not done with.

    Raises:
        StreamUnavailable: the stream does not answer.
    """
    behind = 0
    for name, consumer in CONSUMERS:
        with closing(open_event_stream(settings, name)) as stream:
            behind += sum(shard.records or 0 for shard in stream.backlog(consumer).values())
    return behind


def accepted_records(settings: Settings) -> int:
    """Records the stream of events has ever taken in.

    Raises:
        StreamUnavailable: the stream does not answer.
    """
    with closing(open_event_stream(settings, EVENTS)) as stream:
        return sum(taken.records for taken in stream.intake(0).values())


def _watch(as_json: bool) -> None:
    """Show it again and again until Ctrl-C: in place on a terminal, else one after the other."""
    console = Console()
    with suppress(KeyboardInterrupt):
        if as_json or not console.is_terminal:
            for report in _reports():
                _print(console, report, as_json)
        else:
            with Live(console=console, screen=True, auto_refresh=False) as live:
                for report in _reports():
                    live.update(_rendered(report), refresh=True)
            _print(console, report, as_json)


def _reports() -> Iterator[Report]:
    report = look(load_settings())
    while True:
        yield report
        time.sleep(REFRESH_SECONDS)
        report = look(load_settings(), Refused(report.health.at, report.health.refused))


def _rates(before: Refused, now: Refused) -> dict[str, float] | None:
    """Events refused a second, by type, between two looks; none where the collector began to count anew."""
    if before.events is None or now.events is None:
        return None
    seconds = (now.at - before.at).total_seconds()
    earlier = {type_: min(count, before.events.get(type_, 0.0)) for type_, count in now.events.items()}
    return {type_: (count - earlier[type_]) / seconds for type_, count in now.events.items()}


def _print(console: Console, report: Report, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(document(report)))
    else:
        console.print(_rendered(report))


def _rendered(report: Report) -> RenderableType:
    health = report.health
    title = (report.state.upper(), STYLES[report.state])
    heading = Text.assemble(title, f"  {health.home}  {health.at:%Y-%m-%d %H:%M:%S} UTC")
    parts: list[RenderableType] = [heading if health.processes else _nothing_runs(health.home)]
    if report.alerts:
        parts.append(alert_table(report.alerts))
    parts.append(_figures(report))
    if health.stream:
        parts.append(_backlog(health.stream.backlog))
    if health.processes:
        parts += [_processes(health.processes), _addresses(report.addresses)]
    return Group(*parts)


def _nothing_runs(home: Path) -> str:
    return f"nothing runs in {home}; ./run up starts it"


def worst(alerts: Iterable[Alert]) -> str:
    """The worst severity of alerts, `well` without any."""
    severities = {alert.severity for alert in alerts}
    return next((severity for severity in ("critical", "warning") if severity in severities), "well")


def alert_table(alerts: Iterable[Alert]) -> Table:
    """What is wrong, and what to do about it."""
    table = Table.grid(padding=(0, 1))
    for alert in alerts:
        table.add_row(Text(alert.name, STYLES[alert.severity]), alert.summary)
        table.add_row("", Text(alert.advice, "italic"))
    return table


def _figures(report: Report) -> Table:
    health, ledger = report.health, report.health.ledger
    table = Table(show_header=False, box=SIMPLE)
    if health.processes:
        table.add_row("ingest", _ingest(health.stream, report.refused_per_second))
        table.add_row("delivery", _delivery(health.stream))
    table.add_row("ledger", ", ".join(f"{ledger.hours.get(state, 0)} hours {state}" for state in STATES))
    table.add_row("last sealed", f"{ledger.last_sealed:%Y-%m-%d %H:00}" if ledger.last_sealed else "none yet")
    for name, hours in (("red", ledger.red), ("overdue", ledger.overdue), ("degraded", ledger.degraded)):
        if hours:
            table.add_row(Text(f"{name} hours", "bold red"), named_hours(hours))
    table.add_row(f"last {RECENT_HOURS} hours", _recent(ledger.recent))
    table.add_row("lake's disk", f"{health.disk_used_share:.0%} used, {health.disk_free_bytes / 1e9:,.1f} GB free")
    return table


def _ingest(stream: StreamHealth | None, refused: Mapping[str, float] | None) -> str:
    if stream is None:
        accepted = "the stream does not answer"
    elif stream.accepted_per_second is None:
        accepted = "the stream does not count"
    else:
        accepted = f"{stream.accepted_per_second:,.1f} accepted/s"
    if refused is None:
        return f"{accepted}; the collector does not answer"
    by_type = ", ".join(f"{type_} {rate:,.1f}" for type_, rate in refused.items() if rate)
    return f"{accepted}, {sum(refused.values()):,.1f} refused/s{f': {by_type}' if by_type else ''}"


def _delivery(stream: StreamHealth | None) -> str:
    return f"{stream.delivery_age_seconds:,.1f} s behind now" if stream else "not known"


def _recent(recent: Recent) -> str:
    failed = ", ".join(f"{type_} {records:,}" for type_, records in recent.failures_by_type.items())
    return (
        f"{recent.raw_records:,} records: {recent.enriched_records:,} enriched "
        f"({share(recent.degraded_records, recent.enriched_records):.1%} degraded), "
        f"{recent.failed_records:,} failed{f' ({failed})' if failed else ''}, "
        f"{recent.conflicting_clicks:,} clicks in conflict"
    )


def _backlog(backlog: Iterable[ShardBacklog]) -> Table:
    table = Table("consumer", "records behind", "oldest, s", "lost", box=SIMPLE_HEAD)
    for (stream, consumer), rows in groupby(backlog, key=attrgetter("stream", "consumer")):
        shards = list(rows)
        table.add_row(
            f"{consumer} of {stream}",
            " ".join("?" if shard.records is None else f"{shard.records:,}" for shard in shards),
            " ".join(f"{shard.oldest_age_seconds:,.0f}" for shard in shards),
            f"{sum(shard.lost_records + shard.trimmed_unread for shard in shards):,}",
        )
    return table


def _processes(running: Mapping[str, Process]) -> Table:
    table = Table("process", "pid", "state", box=SIMPLE_HEAD)
    for name, process in running.items():
        table.add_row(name, str(process.pid), Text(process.state, "" if process.state == "ready" else "bold red"))
    return table


def _addresses(addresses: Mapping[str, str]) -> Table:
    table = Table("address", "", box=SIMPLE_HEAD)
    for name, address in addresses.items():
        table.add_row(name, address)
    return table
