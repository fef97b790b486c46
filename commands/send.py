"""`./run send`: synthetic traffic."""

import json
import secrets
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Self

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from streaming.domain.timestamps import parse_timestamp
from streaming.edges.event_stream import EVENTS
from streaming.edges.streams import open_event_stream
from streaming.runtime.traffic import CollectorUnreachable, SendOptions, SendResult
from streaming.runtime.traffic import send as send_traffic
from streaming.settings import SettingError, load_settings

SHARE = click.FloatRange(0, 1)


class Moment(click.ParamType[datetime]):
    """A timestamp as events carry it; a day alone is its start."""

    name = "timestamp"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """Parse it."""
        try:
            return parse_timestamp(value if len(value) > 10 else f"{value}T00:00:00Z")
        except ValueError:
            self.fail(f"{value!r} is no moment such as 2026-11-23 or '2026-11-23 04:05:06'.", param, ctx)


@click.command()
@click.option("--events", default=10_000, show_default=True, type=click.IntRange(1), help="How many good events.")
@click.option("--forever", is_flag=True, help="Send live events until Ctrl-C, 20 a second unless --rate says more.")
@click.option("--rate", default=0.0, type=click.FloatRange(0), help="Events a second; 0 is as fast as it goes.")
@click.option("--batch", default=100, show_default=True, type=click.IntRange(1, 500), help="Events a request.")
@click.option("--concurrency", default=4, show_default=True, type=click.IntRange(1, 256), help="Requests at a time.")
@click.option("--bad", default=0.0, type=SHARE, help="Share of bad events to add over HTTP.")
@click.option("--bad-stream", default=0.0, type=SHARE, help="Share of bad events to add straight on the stream.")
@click.option("--duplicates", default=0.0, type=SHARE, help="Share of events to send a second time.")
@click.option("--late", default=0.0, type=SHARE, help="Share of events that happened 1 to 5 days earlier.")
@click.option("--days", default=1.0, show_default=True, type=click.FloatRange(0, 400), help="Spread over so many days.")
@click.option("--until", type=Moment(), help="End of these days, UTC.  [default: now]")
@click.option("--seed", type=int, help="The same seed and --until send the same events.  [default: drawn anew]")
@click.option("--url", help="The collector.  [default: the one that runs]")
@click.option("--key", "api_key", help="API key to send with.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
def send(
    events: int,
    forever: bool,
    rate: float,
    batch: int,
    concurrency: int,
    bad: float,
    bad_stream: float,
    duplicates: float,
    late: float,
    days: float,
    until: datetime | None,
    seed: int | None,
    url: str | None,
    api_key: str | None,
    as_json: bool,
) -> None:
    """Send synthetic traffic to the collector: a shop's visitors who search, look, fill carts and buy.

    Ends with status 1 if a good event was not accepted or a bad one was.
    """
    settings = load_settings()
    on_aws = settings.deployment == "aws"
    seed = secrets.randbelow(2**31) if seed is None else seed
    if bad_stream and settings.stream == "redis" and not settings.redis_url:
        raise SettingError("--bad-stream needs the stream: start it with ./run up, or set REDIS_URL")
    options = SendOptions(
        url=url or settings.collector_url,
        events=None if forever else events,
        rate=rate or (20.0 if forever else 0.0),
        batch=batch,
        concurrency=concurrency,
        bad=bad,
        bad_stream=bad_stream,
        duplicates=duplicates,
        late=late,
        days=days,
        seed=seed,
        until=until,
        api_key=api_key,
    )
    stream = open_event_stream(settings, EVENTS) if bad_stream else None
    bar = _TrafficBar(options)
    with bar, stop_on_signals() as stop:
        try:
            result = send_traffic(options, bar.show, stop, stream)
        except CollectorUnreachable as error:
            first = "Set COLLECTOR_URL as ./run deploy printed it" if on_aws else "Start the platform with ./run up"
            hint = "" if url else f"\n{first}, or name a collector with --url."
            raise click.ClickException(f"{error}{hint}") from None
    if as_json:
        click.echo(json.dumps(result.to_dict() | {"seed": seed}))
    else:
        Console().print(_summary(result, seed))
    raise SystemExit(0 if result.ok else 1)


class _TrafficBar(Progress):
    """A progress bar of what was answered, with the rate and what went wrong."""

    def __init__(self, options: SendOptions) -> None:
        super().__init__(
            TextColumn("sending"),
            BarColumn(),
            TextColumn("{task.completed:,} accepted  {task.fields[rate]:,.0f}/s"),
            TextColumn("{task.fields[refused]:,} refused  {task.fields[retries]:,} retries"),
            TimeElapsedColumn(),
            console=Console(stderr=True),
        )
        total = None if options.events is None else round(options.events * (1 + options.duplicates))
        self._task = self.add_task("sending", total=total, rate=0.0, refused=0, retries=0)

    def __enter__(self) -> Self:
        """Draw nothing yet: there may be no collector."""
        return self

    def show(self, result: SendResult) -> None:
        """Show what became of the events so far."""
        self.start()
        rate = result.accepted / result.seconds if result.seconds else 0.0
        self.update(
            self._task, completed=result.accepted, rate=rate, refused=result.refused.total(), retries=result.retries
        )


@contextmanager
def stop_on_signals() -> Iterator[threading.Event]:
    """An event that Ctrl-C and SIGTERM set, so that the summary is still printed."""
    stop = threading.Event()
    previous = {name: signal.signal(name, lambda *_: stop.set()) for name in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for name, handler in previous.items():
            signal.signal(name, handler)


def _summary(result: SendResult, seed: int) -> Table:
    table = Table(show_header=False, box=None)
    table.add_row("sent", f"{result.sent:,}")
    table.add_row("accepted", f"{result.accepted:,}")
    for kind, count in sorted(result.refused.items()):
        table.add_row(f"refused: {kind}", f"{count:,}")
    for kind, count in sorted(result.bad_stream.items()):
        table.add_row(f"bad, straight on the stream: {kind}", f"{count:,}")
    for name in ("duplicates", "late", "retries", "unacknowledged"):
        table.add_row(name, f"{getattr(result, name):,}")
    table.add_row("seconds", f"{result.seconds:.2f}")
    table.add_row("seed", str(seed))
    return table
