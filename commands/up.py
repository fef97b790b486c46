"""`./run up`: the platform without traffic."""

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import click

from commands.cli import say
from commands.platform import (
    export_home,
    geo_environment,
    platform_settings,
    start_dagster,
    start_dashboard,
    start_schedules,
    start_servers,
    start_stream,
)
from streaming.runtime.supervisor import AlreadyRunsError, StopRequested, Supervisor, SupervisorError, running_system
from streaming.settings import ROOT, load_settings

READY_FILE = "CLICKSTREAM_READY_FILE"


@click.command()
@click.option(
    "--detach", is_flag=True, help="Return once everything is ready and leave it running; ./run down stops it."
)
@click.option("--no-dagster", is_flag=True, help="Ingest only; ./run materialize brings the tables up to date.")
def up(detach: bool, no_dagster: bool) -> None:
    """Start servers, stream workers, collector, dashboard and Dagster, and keep them running until Ctrl-C.

    On AWS (CLICKSTREAM_DEPLOYMENT=aws) Dagster alone runs here, on the stack's services.
    """
    settings = platform_settings()
    home = settings.home
    if settings.deployment == "aws" and no_dagster:
        raise click.UsageError("on AWS there is nothing to run here but Dagster")
    if detach:
        _start_detached(home, ["--no-dagster"] if no_dagster else [])
        return
    geo = geo_environment(home, say)
    try:
        with Supervisor(home, say) as supervisor:
            supervisor.export(geo)
            servers: tuple[str, ...] = ()
            if settings.deployment == "aws":
                export_home(supervisor, home)
            else:
                servers = start_servers(supervisor, home, say)
                start_stream(supervisor, servers, say)
                start_dashboard(supervisor, say)
            if not no_dagster:
                start_dagster(supervisor, home, servers, say)
                start_schedules(supervisor, home)
            show_addresses(home)
            if READY_FILE in os.environ:
                Path(os.environ[READY_FILE]).touch()
            supervisor.watch()
    except StopRequested:
        say("stopped")


def show_addresses(home: Path) -> None:
    """Say where everything is."""
    settings = load_settings()
    if "dagster-webserver" in (running_system(home) or {}).get("processes", {}):
        say(f"Dagster    {settings.dagster_url}")
    if settings.deployment == "aws":
        say(f"lake       s3://{settings.lake_bucket}")
        say(f"logs       {home / 'logs'}")
        return
    say(f"dashboard  {settings.dashboard_url}")
    say(f"collector  {settings.collector_url}  (POST /events; its documentation: {settings.collector_url}/docs)")
    say(f"metrics    {settings.metrics_url}/metrics")
    say(f"lake       {settings.lake}")
    say(f"logs       {home / 'logs'}")


def _start_detached(home: Path, options: Sequence[str]) -> None:
    if running := running_system(home):
        raise AlreadyRunsError(home, running["pid"])
    ready = home / "ready" / "up"
    log = home / "logs" / "up.log"
    for folder in (ready.parent, log.parent):
        folder.mkdir(parents=True, exist_ok=True)
    ready.unlink(missing_ok=True)
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "commands", "up", *options], env=os.environ | {READY_FILE: str(ready)},
            cwd=ROOT, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
        )  # fmt: skip
    while not ready.exists():
        if process.poll() is not None:
            raise SupervisorError(f"the platform did not start:\n{log.read_text()}")
        time.sleep(0.05)
    show_addresses(home)
