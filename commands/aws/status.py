"""What `./run status` shows where the platform runs on AWS: alerts, how far the tables are, and where the rest is."""

import json
from dataclasses import asdict, dataclass
from datetime import datetime

import click
from rich.console import Console
from rich.table import Table

from clickstream_assets import pending
from clickstream_assets.definitions import opened_edges
from clickstream_assets.health import measure_on_aws
from commands.status import alert_table, worst
from streaming.edges.aws import region
from streaming.runtime.health.alerts import Alert, active_alerts, named_hours
from streaming.settings import Settings


@dataclass(frozen=True)
class AwsReport:
    """Hours of arrival are counted by the state of their ledger; times are UTC.

    `to_settle` hours of arrival, `to_flatten` hours and `to_aggregate` days of event time are behind what has arrived.
    """

    alerts: list[Alert]
    delivered_up_to: datetime | None
    hours: dict[str, int]
    red: list[datetime]
    overdue: list[datetime]
    to_settle: int
    to_flatten: int
    to_aggregate: int
    watched_at: str
    dagster: str

    @property
    def state(self) -> str:
        """The worst of the alerts, else `well`."""
        return worst(self.alerts)


def look(settings: Settings) -> AwsReport:
    """Measure now."""
    with opened_edges(settings, "lake", "delivery") as edges:
        lake, progress = edges.lake.snapshot(), edges.delivery.progress()
        health = measure_on_aws(settings, lake, progress)
        place = region()
        console = f"https://{place}.console.aws.amazon.com/cloudwatch/home?region={place}#dashboards/dashboard/"
        return AwsReport(
            alerts=active_alerts(health, settings),
            delivered_up_to=progress.caught_up_to,
            hours=health.ledger.hours,
            red=health.ledger.red,
            overdue=health.ledger.overdue,
            to_settle=len(pending.arrival_hours(lake, progress).closed),
            to_flatten=len(pending.event_hours(lake)),
            to_aggregate=len(pending.days(lake)),
            watched_at=f"{console}{settings.stack.name}",
            dagster=settings.dagster_url,
        )


def show(report: AwsReport, as_json: bool) -> None:
    """Print it, as tables or one JSON document."""
    if as_json:
        alerts = [alert._asdict() for alert in report.alerts]
        click.echo(json.dumps({"state": report.state, **asdict(report), "alerts": alerts}, default=str))
        return
    moment = report.delivered_up_to
    table = Table(show_header=False, box=None)
    table.add_row("delivered up to", f"{moment:%Y-%m-%d %H:%M} UTC" if moment else "not known")
    table.add_row("ledger", ", ".join(f"{count} {state}" for state, count in report.hours.items()) or "no hour yet")
    for name, hours in (("red", report.red), ("overdue", report.overdue)):
        if hours:
            table.add_row(f"{name} hours", named_hours(hours), style="bold red")
    table.add_row("to settle", f"{report.to_settle} hours of arrival")
    table.add_row("to flatten", f"{report.to_flatten} hours of event time")
    table.add_row("to aggregate", f"{report.to_aggregate} days")
    table.add_row("alarms, streams, delivery", report.watched_at)
    table.add_row("Dagster", report.dagster)
    console = Console(soft_wrap=True)
    if report.alerts:
        console.print(alert_table(report.alerts))
    console.print(table)
