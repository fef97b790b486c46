"""`./run demo`: the whole platform on synthetic traffic."""

import json
import secrets
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click

from commands.cli import say
from commands.platform import (
    geo_environment,
    local_settings,
    start_dagster,
    start_dashboard,
    start_schedules,
    start_servers,
    start_stream,
)
from commands.status import accepted_records, records_behind
from commands.up import show_addresses
from streaming.runtime.supervisor import Service, StopRequested, Supervisor, SupervisorError
from streaming.settings import load_settings

# The synthetic shop speaks for its users' addresses, and nobody who watches wants to wait a minute for a file.
DEMO_SETTINGS = {"CLICKSTREAM_TRUST_PAYLOAD_IP": "1", "CLICKSTREAM_DELIVERY_BUFFER_SECONDS": "5"}
# About as busy as the days before; a few events are bad or doubled, as they are anywhere.
LIVE_TRAFFIC = [
    "--forever",
    "--rate",
    "1",
    "--bad",
    "0.03",
    "--bad-stream",
    "0.03",
    "--duplicates",
    "0.03",
    "--late",
    "0.01",
]
SUMMARY = ("accepted", "raw", "enriched", "failed", "flattened", "aggregates", "seconds", "lake")
DELIVERY_SECONDS = 120
SEND = (sys.executable, "-m", "commands", "send")


@click.command()
@click.option("--events", default=20_000, show_default=True, type=click.IntRange(1), help="Events of the first burst.")
@click.option(
    "--days", default=14.0, show_default=True, type=click.FloatRange(0, 400), help="Days that the burst is spread over."
)
@click.option("--seed", type=int, help="Draw the traffic from this seed; every run has its own without it.")
@click.option("--exit", "leave", is_flag=True, help="Stop after the summary; status 0 only if the ledger balances.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as the last line, in JSON.")
def demo(events: int, days: float, seed: int | None, leave: bool, as_json: bool) -> None:
    """Run servers, stream workers, collector, dashboard, traffic, and Dagster with materialised assets.

    Leaves it all up, with gentle live traffic, until Ctrl-C. A later demo in the same home adds to its data; the
    summary counts everything the home holds.
    """
    started = time.monotonic()
    seed = secrets.randbelow(2**31) if seed is None else seed
    home = local_settings().home
    geo = geo_environment(home, say)
    try:
        with Supervisor(home, say) as supervisor:
            supervisor.export({**geo, **DEMO_SETTINGS})
            say("starting servers, workers and collector")
            servers = start_servers(supervisor, home, say)
            start_stream(supervisor, servers, say)
            if not leave:
                start_dashboard(supervisor, say)
                start_dagster(supervisor, home, servers, say)
            options = {"--events": events, "--days": min(days, _days_since_start()), "--seed": seed}
            summary = _run_events_through(supervisor, options)
            summary["seconds"] = round(time.monotonic() - started, 1)
            _show(summary, as_json)
            if not leave:
                _keep_up(supervisor, home, seed)
    except StopRequested:
        say("stopped")
        return
    if not summary["balanced"]:
        raise SupervisorError(f"the ledger does not balance; the lake is {summary['lake']}")


def _run_events_through(supervisor: Supervisor, options: Mapping[str, float]) -> dict[str, Any]:
    """Send the burst, wait until delivery has written all of it, materialise the tables; the summary."""
    supervisor.run("traffic", [*SEND, *(word for option in options.items() for word in map(str, option))])
    say("waiting for delivery to the lake")
    settings = load_settings()
    deadline = time.monotonic() + DELIVERY_SECONDS
    supervisor.watch(lambda: not records_behind(settings) or time.monotonic() > deadline, probe_seconds=0.1)
    if behind := records_behind(settings):
        raise SupervisorError(
            f"delivery is still {behind} records behind after {DELIVERY_SECONDS} s; ./run status says more"
        )
    say("materialising the tables, for half a minute or more")
    tables = _json_of(supervisor, [sys.executable, "-m", "commands", "materialize"])
    accepted = accepted_records(settings)
    balanced = tables["balanced"] and accepted <= tables["raw"]
    return {"accepted": accepted, **tables, "balanced": balanced, "lake": str(settings.lake)}


def _days_since_start() -> float:
    """Events from before CLICKSTREAM_START would be refused."""
    return (datetime.now(UTC) - load_settings().start) / timedelta(days=1)


def _json_of(supervisor: Supervisor, command: Sequence[str]) -> dict[str, Any]:
    """What a command prints as its last line."""
    with tempfile.TemporaryFile() as output:
        supervisor.run("materialize", command, output=output)
        output.seek(0)
        document: dict[str, Any] = json.loads(output.read().splitlines()[-1])
    return document


def _show(summary: dict[str, Any], as_json: bool) -> None:
    for key in SUMMARY:
        if key == "aggregates":
            say("\n".join([key, *(f"  {name:<34}{rows}" for name, rows in summary[key].items())]))
        else:
            say(f"{key:<11}{summary[key]}")
    say("the ledger balances" if summary["balanced"] else "THE LEDGER DOES NOT BALANCE")
    if as_json:
        click.echo(json.dumps({key: summary[key] for key in SUMMARY}))


def _keep_up(supervisor: Supervisor, home: Path, seed: int) -> None:
    start_schedules(supervisor, home)
    traffic = [*SEND, *LIVE_TRAFFIC, "--seed", str(seed + 1)]
    supervisor.start(Service("live-traffic", traffic, ready=lambda: True, after=("collector",)))
    show_addresses(home)
    say("live traffic runs; Ctrl-C stops everything")
    supervisor.watch()
