"""The command `soak`."""

import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from threading import Event

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from commands.platform import geo_environment, local_settings, start_servers, start_stream
from commands.send import stop_on_signals
from commands.soak.campaign import Campaign
from commands.soak.report import Report
from commands.soak.strikes import KINDS, Kind
from commands.soak.target import Target
from commands.soak.traffic import Account, Traffic, WitnessedStream
from commands.soak.verdict import hidden_leftovers, judge_all, table_counts
from streaming.domain.timestamps import format_timestamp
from streaming.runtime.supervisor import Supervisor, SupervisorError
from streaming.runtime.traffic import SendOptions
from streaming.settings import SettingError, load_settings

SETTINGS = {"CLICKSTREAM_TRUST_PAYLOAD_IP": "1", "CLICKSTREAM_DELIVERY_BUFFER_SECONDS": "5"}
# A soak destroys what it can: whatever these name is somebody's.
NOT_OURS = (
    "REDIS_URL", "CACHE_REDIS_URL", "MYSQL_URL", "COLLECTOR_URL", "CLICKSTREAM_LAKE", "CLICKSTREAM_API_KEYS",
    "IPINFO_TOKEN", "IPINFO_URL", "CLICKSTREAM_REQUESTS_PER_SECOND",
)  # fmt: skip
TRAFFIC = SendOptions("", events=None, concurrency=8, bad=0.01, bad_stream=0.01, duplicates=0.02, late=0.02)
WATCH_SECONDS = 0.1


@click.command()
@click.option("--minutes", default=3.0, show_default=True, type=click.FloatRange(0, min_open=True), help="How long.")
@click.option("--seed", type=int, help="The same seed strikes in the same order.  [default: drawn anew]")
@click.option("--rate", default=500.0, show_default=True, type=click.FloatRange(1), help="Events a second.")
@click.option("--strikes", "kinds", multiple=True, type=click.Choice(KINDS), help="Only strikes of this kind; repeat.")
@click.option("--report", type=click.Path(dir_okay=False, writable=True, path_type=Path), help="Write it to this file.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON, in one line.")
def soak(
    minutes: float, seed: int | None, rate: float, kinds: tuple[Kind, ...], report: Path | None, as_json: bool
) -> None:
    """Run traffic while random faults strike, then account for every event; status 0 only if nothing was lost.

    The traffic has bad, late and doubled events. The platform is one of its own, in a temporary home, or in
    CLICKSTREAM_HOME if there is no lake yet. Ctrl-C ends the strikes early: the account and the report still come.
    """
    if report is not None and not report.parent.is_dir():
        raise click.UsageError(f"--report: there is no folder {report.parent}")
    given = os.environ.get("CLICKSTREAM_HOME")
    home = _own_home(given or tempfile.mkdtemp(prefix="clickstream-soak-"))
    seed = secrets.randbelow(2**31) if seed is None else seed
    options = replace(TRAFFIC, rate=rate, seed=seed)
    with stop_on_signals() as stop, _Bar(minutes) as bar:
        told = _soak_platform(home, options, kinds or KINDS, 60 * minutes, stop, bar)
    if report:
        report.write_text(told.to_markdown())
    click.echo(json.dumps(told.to_dict()) if as_json else told.to_markdown())
    if not told.holds:
        raise SupervisorError(f"a promise was broken; {home} has all of it")
    if not given:
        shutil.rmtree(home)


def _own_home(folder: str) -> Path:
    """A home without a lake, for this process and those it starts.

    Raises:
        SettingError: CLICKSTREAM_HOME has a lake.
    """
    for name in NOT_OURS:
        os.environ.pop(name, None)
    os.environ["CLICKSTREAM_HOME"] = folder
    settings = local_settings()
    if settings.lake.exists():
        raise SettingError(f"CLICKSTREAM_HOME: a soak needs a home of its own, and {settings.home} has a lake")
    return settings.home


def _soak_platform(
    home: Path, options: SendOptions, kinds: Sequence[Kind], seconds: float, stop: Event, bar: "_Bar"
) -> Report:
    """Start a platform, soak it on a thread of its own, and supervise it meanwhile."""
    with Supervisor(home, bar.say, stop_signals=()) as supervisor:
        supervisor.export({**geo_environment(home, bar.say), **SETTINGS})
        start_stream(supervisor, start_servers(supervisor, home, bar.say), bar.say)
        settings = load_settings()
        account = Account(home / "acknowledged.txt")
        stream = WitnessedStream(settings, account)
        campaign = Campaign(Target(home, settings, stream, stop), seconds)
        traffic = Traffic(replace(options, url=settings.collector_url), stream, account)
        thread = ThreadPoolExecutor(1, "soak")
        told = thread.submit(_soak, campaign, traffic, account, options, kinds)
        thread.shutdown(wait=False)

        def is_over() -> bool:
            bar.show(campaign, traffic)
            if traffic.has_failed():
                stop.set()
            return told.done()

        try:
            supervisor.watch(is_over, WATCH_SECONDS)
        finally:
            stop.set()
            campaign.target.gone.set()
        return told.result()


def _soak(
    campaign: Campaign, traffic: Traffic, account: Account, options: SendOptions, kinds: Sequence[Kind]
) -> Report:
    begun = format_timestamp(datetime.now(UTC))
    try:
        campaign.strike(options.seed, kinds)
    finally:
        sent = traffic.end()
        seconds = campaign.elapsed
    drained = campaign.drain()
    account.close()
    campaign.now = "the tables are checked"
    findings = judge_all(campaign.target, account.file, drained)
    return Report(
        begun=begun,
        seconds=seconds,
        options=options,
        kinds=tuple(kinds),
        sent=sent,
        account=account,
        most_behind=campaign.most_behind,
        strikes=campaign.struck,
        checks=campaign.checks,
        findings=findings,
        tables=table_counts(campaign.target),
        hidden_leftovers=hidden_leftovers(campaign.target),
    )


class _Bar(Progress):
    """A line of how far the soak is, what the traffic does, and what strikes now."""

    def __init__(self, minutes: float) -> None:
        super().__init__(
            TimeElapsedColumn(),
            BarColumn(20),
            TextColumn("{task.fields[accepted]:,} accepted  {task.fields[retries]:,} retries  {task.fields[now]}"),
            console=Console(stderr=True),
        )
        self._task = self.add_task("", total=60 * minutes, accepted=0, retries=0, now="starting")

    def show(self, campaign: Campaign, traffic: Traffic) -> None:
        """Show how far it is."""
        sent = traffic.result
        self.update(
            self._task, completed=campaign.elapsed, accepted=sent.accepted, retries=sent.retries, now=campaign.now
        )

    def say(self, text: str) -> None:
        """Tell what the supervisor does, above the line."""
        self.console.print(text, highlight=False, markup=False)
