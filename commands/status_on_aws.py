"""What `./run status` shows where the platform runs on AWS: how far the tables are. The rest CloudWatch watches."""

import json
from collections import Counter
from dataclasses import asdict, dataclass
from datetime import datetime

import click
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

from clickstream_assets import pending
from clickstream_assets.definitions import opened_edges
from resources.lake import local_paths, written_partition
from streaming.domain.tables import EVENT_LEDGER
from streaming.edges.aws import region
from streaming.runtime.health.alerts import named_hours
from streaming.settings import Settings

RECENT_HOURS = 24


@dataclass(frozen=True)
class AwsReport:
    """Hours of arrival are counted by the state of their ledger, of the newest that have one; times are UTC.

    `to_settle` hours of arrival, `to_flatten` hours and `to_aggregate` days of event time are behind what has arrived.
    """

    delivered_up_to: datetime | None
    hours: dict[str, int]
    red: list[datetime]
    to_settle: int
    to_flatten: int
    to_aggregate: int
    watched_at: str
    dagster: str

    @property
    def state(self) -> str:
        """`critical` where a record is not accounted for, else `well`."""
        return "critical" if self.red else "well"


def look(settings: Settings) -> AwsReport:
    """Measure now."""
    with opened_edges(settings, "lake", "delivery") as edges:
        lake, progress = edges.lake.snapshot(), edges.delivery.progress()
        newest = lake.hours(EVENT_LEDGER)[-RECENT_HOURS:]
        files = local_paths([written_partition(lake, EVENT_LEDGER, hour) for hour in newest])
        states = [pq.read_table(file, columns=["state"])["state"][0].as_py() for file in files]
        place = region()
        console = f"https://{place}.console.aws.amazon.com/cloudwatch/home?region={place}#dashboards/dashboard/"
        return AwsReport(
            delivered_up_to=progress.caught_up_to,
            hours=dict(Counter(states)),
            red=[hour for hour, state in zip(newest, states, strict=True) if state == "red"],
            to_settle=len(pending.arrival_hours(lake, progress).closed),
            to_flatten=len(pending.event_hours(lake)),
            to_aggregate=len(pending.days(lake)),
            watched_at=f"{console}{settings.stack.name}",
            dagster=settings.dagster_url,
        )


def show(report: AwsReport, as_json: bool) -> None:
    """Print it, as a table or one JSON document."""
    if as_json:
        click.echo(json.dumps({"state": report.state, **asdict(report)}, default=str))
        return
    moment = report.delivered_up_to
    table = Table(show_header=False, box=None)
    table.add_row("delivered up to", f"{moment:%Y-%m-%d %H:%M} UTC" if moment else "not known")
    table.add_row("ledger", ", ".join(f"{count} {state}" for state, count in report.hours.items()) or "no hour yet")
    if report.red:
        table.add_row("red hours", named_hours(report.red), style="bold red")
    table.add_row("to settle", f"{report.to_settle} hours of arrival")
    table.add_row("to flatten", f"{report.to_flatten} hours of event time")
    table.add_row("to aggregate", f"{report.to_aggregate} days")
    table.add_row("alarms, streams, delivery", report.watched_at)
    table.add_row("Dagster", report.dagster)
    Console(soft_wrap=True).print(table)
