"""A day of raw events to tables: what sealing, ledger, flattening and aggregates take, from 1 to 10 million events.

The day is 24 hours of arrival as delivery lands them, with late copies, repeated deliveries and failures. Each step is
one run over all its partitions, in a process of its own.
"""

import json
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import click
import duckdb
from rich.console import Console
from rich.table import Table

from bench._landing import land
from bench._tables import STEPS, materialize
from resources.lake import DirectoryLake
from streaming.settings import load_settings

DAY = datetime(2026, 11, 1, tzinfo=UTC)
HOURS = [DAY + timedelta(hours=hour) for hour in range(24)]
# Late copies of the last hour arrive in the next.
ARRIVAL_HOURS = [*HOURS, DAY + timedelta(days=1)]
MOST_BYTES = 1_000_000_000

Answer = TypeVar("Answer")


class Measurement(NamedTuple):
    """What a step took: wall and CPU seconds, peak bytes of its process."""

    seconds: float
    cpu_seconds: float
    peak_bytes: int


def measure_day(events: int) -> dict[str, Measurement]:
    """Land a day of so many events, and take every step.

    Raises:
        click.ClickException: the tables do not account for every event.
    """
    with tempfile.TemporaryDirectory(prefix="clickstream-bench-") as folder:
        home = Path(folder)
        lake = DirectoryLake(home / "lake")
        _in_own_process(land, lake, HOURS, events, load_settings({}).memory_limit_bytes)
        taken = {step: _in_own_process(_measure, home, step) for step in STEPS}
        _check(lake, events)
    return taken


def _in_own_process(work: Callable[..., Answer], *arguments: Any) -> Answer:
    # Not a Pool, which ends its processes with SIGTERM: Dagster takes that for Ctrl-C.
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        return process.submit(work, *arguments).result()


def _measure(home: Path, step: str) -> Measurement:
    hours = ARRIVAL_HOURS if step in ("failed", "seal", "ledger") else HOURS
    wall, cpu = time.perf_counter(), time.process_time()
    materialize(home, step, hours)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # at least what the parent had: it stays small
    return Measurement(time.perf_counter() - wall, time.process_time() - cpu, peak)


def _check(lake: DirectoryLake, events: int) -> None:
    with duckdb.connect() as connection:
        ledger = connection.read_parquet(str(lake.path("event_ledger/**/[!.]*.parquet")))
        states, failed = ledger.aggregate("LIST(DISTINCT state), SUM(failed_records)").fetchall()[0]
        flattened = connection.read_parquet(str(lake.path("flattened/**/[!.]*.parquet"))).count("*").fetchall()[0][0]
    if states != ["balanced"] or not events * 0.99 <= flattened <= events <= flattened + failed:
        raise click.ClickException(f"{events:,} events: ledger {states}, {flattened:,} flattened, {failed:,} failed")


@click.command()
@click.option("--events", multiple=True, default=(1_000_000, 10_000_000), show_default=True, help="Events of the day.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def main(events: tuple[int, ...], as_json: bool) -> None:
    """A day of raw events to tables, for each number of events."""
    days = {count: measure_day(count) for count in events}
    if as_json:
        click.echo(
            json.dumps({day: {step: found._asdict() for step, found in taken.items()} for day, taken in days.items()})
        )
        return
    table = Table("events", "step", "seconds", "CPU s", "s per million", "peak MB", box=None)
    for count, taken in days.items():
        for step, found in taken.items():
            table.add_row(
                f"{count:,}", step, f"{found.seconds:.1f}", f"{found.cpu_seconds:.1f}",
                f"{found.seconds * 1e6 / count:.2f}", f"{found.peak_bytes / 1e6:.0f}",
            )  # fmt: skip
    Console().print(table)
    click.echo(f"peak at most {MOST_BYTES / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
