"""Calls of our Lambdas, as `./run cost` counts them: milliseconds of a whole call, by the events it brings."""

import json
import os
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import click
from rich.console import Console
from rich.table import Table

from bench.enrichment import RECORDS, fill_cache, firehose_batch
from streaming.handlers import enrichment, high_intent, last_access
from streaming.runtime.servers import LOOPBACK, free_port, redis_service
from streaming.runtime.supervisor import Supervisor

SIZES = {enrichment: (10, RECORDS), last_access: (10, 100), high_intent: (10, 500)}


class Call(NamedTuple):
    """One call of a function with so many events: milliseconds of wall clock, and of CPU in this process."""

    function: str
    events: int
    milliseconds: float
    cpu_milliseconds: float


def run(rounds: int) -> list[Call]:
    """The median call of each, warm, against private Redis instances."""
    with tempfile.TemporaryDirectory() as folder, Supervisor(Path(folder), lambda _: None, stop_signals=()) as servers:
        ports = {name: free_port() for name in ("REDIS_URL", "CACHE_REDIS_URL")}
        servers.start(*(redis_service(name, Path(folder) / name, port) for name, port in ports.items()))
        os.environ |= {name: f"redis://{LOOPBACK}:{port}/0" for name, port in ports.items()}
        fill_cache(os.environ["CACHE_REDIS_URL"])
        return [_measure(function, events, rounds) for function, sizes in SIZES.items() for events in sizes]


def _measure(function: Any, events: int, rounds: int) -> Call:
    batches = [_batch(function, seed, events) for seed in range(rounds + 1)]
    taken = []
    for batch in batches:
        wall, cpu = time.perf_counter(), time.process_time()
        function.lambda_handler(batch, None)
        taken.append((time.perf_counter() - wall, time.process_time() - cpu))
    walls, cpus = zip(*taken[1:], strict=True)  # the first opens connections
    return Call(function.__name__.rpartition(".")[2], events, median(walls) * 1000, median(cpus) * 1000)


def _batch(function: Any, seed: int, events: int) -> dict[str, Any]:
    records = firehose_batch(seed)["records"][:events]
    if function is enrichment:
        return {"records": records}
    return {
        "Records": [
            {
                "kinesis": {
                    "data": record["data"],
                    "sequenceNumber": record["recordId"],
                    "approximateArrivalTimestamp": record["approximateArrivalTimestamp"] / 1000,
                }
            }
            for record in records
        ]
    }


@click.command()
@click.option("--rounds", default=50, show_default=True, help="Calls of each function and size.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def main(rounds: int, as_json: bool) -> None:
    """Calls of the Lambdas that read the stream, warm, on one core."""
    calls = run(rounds)
    if as_json:
        click.echo(json.dumps([call._asdict() for call in calls]))
        return
    table = Table("function", "events", "ms", "CPU ms", box=None)
    for call in calls:
        table.add_row(call.function, f"{call.events:,}", f"{call.milliseconds:.1f}", f"{call.cpu_milliseconds:.1f}")
    Console().print(table)
