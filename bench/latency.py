"""POST to queryable row: how long after a client has sent an event a query of the landing finds it.

The collector and a delivery worker as `./run up` starts them, on private servers, under a steady load. The delivery
buffer is made shorter than the default 60 s; the promise is its interval and 2 s more.
"""

import json
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import NamedTuple

import click
import duckdb
import httpx
from rich.console import Console
from rich.table import Table

from bench.stream_to_parquet import write_places
from streaming.runtime.servers import LOOPBACK, free_port, redis_service
from streaming.runtime.supervisor import Service, Supervisor
from streaming.runtime.traffic.shop import Shop, event_json

POLL_SECONDS = 0.1
PROMISE_SECONDS = 2.0


class Latency(NamedTuple):
    """Seconds from POST to row; `missing` events had no row when the bench gave up."""

    events: int
    missing: int
    buffer_seconds: float
    p50: float
    p99: float
    slowest: float


@contextmanager
def running_system(buffer_seconds: float) -> Iterator[tuple[str, Path]]:
    """The collector's address, and the folder of the landing."""
    with tempfile.TemporaryDirectory() as name, Supervisor(Path(name), lambda _: None, stop_signals=()) as supervisor:
        home, stream, cache, collector = Path(name), free_port(), free_port(), free_port()
        write_places(home / "places.mmdb")
        supervisor.start(
            redis_service("stream-redis", home / "stream-redis", stream),
            redis_service("cache-redis", home / "cache-redis", cache),
        )
        supervisor.export(
            {
                "REDIS_URL": f"redis://{LOOPBACK}:{stream}/0",
                "CACHE_REDIS_URL": f"redis://{LOOPBACK}:{cache}/0",
                "GEOIP_DATABASE": str(home / "places.mmdb"),
                "CLICKSTREAM_HOME": name,
                "CLICKSTREAM_DELIVERY_BUFFER_SECONDS": str(buffer_seconds),
                "COLLECTOR_PORT": str(collector),
            }
        )
        url = f"http://{LOOPBACK}:{collector}"
        python = [sys.executable, "-m"]
        supervisor.start(
            Service("delivery", [*python, "streaming.runtime.worker", "delivery"]),
            Service("collector", [*python, "streaming.runtime.collector"], ready=lambda: _answers(url)),
        )
        yield url, home / "lake" / "enriched_landing"


def send(url: str, rate: float, seconds: float, sent: dict[str, float]) -> None:
    """Post events one by one at an even rate; when each was sent, by click_id."""
    started = time.monotonic()
    now = time.time_ns() // 1_000
    steps = Shop(1).history(round(rate * seconds), now - 3_600_000_000, now)
    with httpx.Client(base_url=url, trust_env=False) as client:
        for index, step in enumerate(steps):
            time.sleep(max(0.0, started + index / rate - time.monotonic()))
            body = event_json(step, step.at)
            sent[json.loads(body)["click_id"]] = time.monotonic()
            client.post("/events", content=body, headers={"content-type": "application/json"}).raise_for_status()


def watch(landing: Path, found: dict[str, float], stop: Event) -> None:
    """Query each new file of the landing; when its rows were read, by click_id."""
    seen: set[Path] = set()
    with duckdb.connect() as database:
        while not stop.wait(POLL_SECONDS):
            new = set(landing.rglob("[!.]*.parquet")) - seen
            if new:
                rows = database.execute(
                    "SELECT click_id FROM read_parquet(?)", [[str(path) for path in new]]
                ).fetchall()
                moment = time.monotonic()
                for (click_id,) in rows:
                    found.setdefault(click_id, moment)
                seen |= new


def run(buffer_seconds: float, rate: float, seconds: float) -> Latency:
    """Load the system, and wait until every event has its row."""
    sent: dict[str, float] = {}
    found: dict[str, float] = {}
    stop = Event()
    with running_system(buffer_seconds) as (url, landing):
        watcher = Thread(target=watch, args=[landing, found, stop])
        watcher.start()
        try:
            send(url, rate, seconds, sent)
            deadline = time.monotonic() + buffer_seconds + 10
            while len(found) < len(sent) and time.monotonic() < deadline:
                time.sleep(POLL_SECONDS)
        finally:
            stop.set()
            watcher.join()
    taken = sorted(found[click_id] - moment for click_id, moment in sent.items() if click_id in found)
    return Latency(
        len(sent),
        len(sent) - len(taken),
        buffer_seconds,
        taken[len(taken) // 2],
        taken[len(taken) * 99 // 100],
        taken[-1],
    )


@click.command()
@click.option("--buffer-seconds", default=5.0, show_default=True, help="The delivery buffer's interval.")
@click.option("--rate", default=200.0, show_default=True, help="Events a second.")
@click.option("--seconds", default=20.0, show_default=True, help="How long to send.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def main(buffer_seconds: float, rate: float, seconds: float, as_json: bool) -> None:
    """POST to queryable row."""
    latency = run(buffer_seconds, rate, seconds)
    if as_json:
        click.echo(json.dumps(latency._asdict()))
        return
    table = Table("POST to row", "buffer s", "p50 s", "p99 s", "slowest s", "promised s", "missing", box=None)
    figures = (latency.buffer_seconds, latency.p50, latency.p99, latency.slowest, buffer_seconds + PROMISE_SECONDS)
    table.add_row(f"{latency.events:,} events", *(f"{figure:.2f}" for figure in figures), str(latency.missing))
    Console().print(table)


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health", trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


if __name__ == "__main__":
    main()
