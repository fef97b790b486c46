"""`./run down`: stop what `up` or `demo` started in this home."""

import click
import psutil

from streaming.runtime.supervisor import SupervisorError, running_system
from streaming.settings import load_home

STOP_SECONDS = 180


@click.command()
def down() -> None:
    """Stop the platform that runs in this home, and wait until buffers are flushed and every process has ended."""
    home = load_home()
    system = running_system(home)
    if system is None:
        click.echo(f"nothing runs in {home}")
        return
    supervisor = psutil.Process(system["pid"])
    supervisor.terminate()
    try:
        supervisor.wait(STOP_SECONDS)
    except psutil.TimeoutExpired:
        raise SupervisorError(f"process {supervisor.pid} did not end within {STOP_SECONDS} s") from None
    click.echo(f"stopped what ran in {home}")
