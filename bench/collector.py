"""The collector against a plain one: requests of 100 events, and of one.

Each server is one process in front of the same private Redis; the load comes from a process of its own, over
connections that are kept open, each waiting for its answer before it sends again. The machine's cores are shared by
server, Redis and load, so the speed that counts is events per second of the server's own CPU.
"""

import json
import multiprocessing
import selectors
import socket
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import click
import httpx
import psutil
from rich.console import Console
from rich.table import Table

from streaming.runtime.servers import LOOPBACK, free_port, redis_service
from streaming.runtime.supervisor import Service, Supervisor, running_processes
from streaming.runtime.traffic.shop import Shop, event_json

BODIES = 200
HOUR = 3_600_000_000


class Load(NamedTuple):
    """What a load process saw: answers of 200 and others, and the latencies of all in seconds, sorted."""

    good: int
    other: int
    latencies: list[float]
    seconds: float


class Measurement(NamedTuple):
    """Speed of one server under one load; `per_core` is events per second of the server's CPU."""

    server: str
    batch: int
    events_per_second: float
    per_core: float
    server_cores: float
    p50_milliseconds: float
    p99_milliseconds: float
    refused: int


def bodies(batch: int) -> list[bytes]:
    """Request bodies of `batch` events each, of the last hour of a shop."""
    end = time.time_ns() // 1_000
    events = [event_json(step, step.at) for step in Shop(1).history(BODIES * batch, end - HOUR, end)]
    chunks = [events[start : start + batch] for start in range(0, len(events), batch)]
    return [chunk[0] if batch == 1 else b"[" + b",".join(chunk) + b"]" for chunk in chunks]


def load(port: int, requests: Sequence[bytes], connections: int, seconds: float) -> Load:
    """Send the requests in turn until the time is up."""
    selector = selectors.DefaultSelector()
    turn = 0
    good = other = 0
    latencies = []
    started = time.perf_counter()
    for _ in range(connections):
        connection = socket.create_connection((LOOPBACK, port))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        selector.register(connection, selectors.EVENT_READ, _Exchange(connection))
    exchanges = [key.data for key in selector.get_map().values()]
    for exchange in exchanges:
        exchange.send(requests[turn % len(requests)])
        turn += 1
    while time.perf_counter() < started + seconds:
        for key, _ in selector.select(1.0):
            exchange = key.data
            if exchange.receive():
                latencies.append(time.perf_counter() - exchange.sent_at)
                good, other = good + exchange.was_good, other + (not exchange.was_good)
                exchange.send(requests[turn % len(requests)])
                turn += 1
    elapsed = time.perf_counter() - started
    for exchange in exchanges:
        exchange.connection.close()
    return Load(good, other, sorted(latencies), elapsed)


class _Exchange:
    """One connection with one request under way."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.sent_at = 0.0
        self.was_good = False
        self._answer = b""

    def send(self, request: bytes) -> None:
        self._answer = b""
        self.sent_at = time.perf_counter()
        self.connection.sendall(request)

    def receive(self) -> bool:
        """Whether the answer is whole now."""
        self._answer += self.connection.recv(1 << 18)
        head, separator, body = self._answer.partition(b"\r\n\r\n")
        if not separator:
            return False
        self.was_good = head.startswith(b"HTTP/1.1 200")
        return len(body) >= int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])


def measure(server: str, port: int, pid: int, batch: int, connections: int, seconds: float) -> Measurement:
    """Load one server for some seconds, after one second of warming up."""
    head = f"POST /events HTTP/1.1\r\nHost: {LOOPBACK}:{port}\r\nContent-Type: application/json\r\nContent-Length: "
    requests = [f"{head}{len(body)}\r\n\r\n".encode() + body for body in bodies(batch)]
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        pool.apply(load, (port, requests, connections, 1.0))
        before = sum(psutil.Process(pid).cpu_times()[:2])
        result = pool.apply(load, (port, requests, connections, seconds))
        cpu = sum(psutil.Process(pid).cpu_times()[:2]) - before
    events = result.good * batch
    answers = len(result.latencies)
    return Measurement(
        server,
        batch,
        events / result.seconds,
        events / cpu,
        cpu / result.seconds,
        1000 * result.latencies[answers // 2],
        1000 * result.latencies[answers * 99 // 100],
        result.other,
    )


def run(seconds: float, connections: int) -> list[Measurement]:
    """Both servers, one after the other on the same Redis."""
    with tempfile.TemporaryDirectory() as folder, Supervisor(Path(folder), lambda _: None, stop_signals=()) as system:
        home = Path(folder)
        redis_port = free_port()
        system.start(redis_service("stream-redis", home / "stream-redis", redis_port))
        system.export(
            {
                "REDIS_URL": f"redis://{LOOPBACK}:{redis_port}/0",
                "CLICKSTREAM_HOME": folder,
                "CLICKSTREAM_STREAM_BACKLOG": "1000000000",
            }
        )
        results = []
        for name, command in (
            ("plain", ["-m", "uvicorn", "--factory", "bench._plain_collector:plain_collector", "--no-access-log"]),
            ("ours", ["-m", "streaming.runtime.collector"]),
        ):
            port = free_port()
            options = ["--port", str(port)] if name == "plain" else []
            system.export({"COLLECTOR_PORT": str(port)})
            system.start(Service(name, [sys.executable, *command, *options], partial(_answers, port)))
            pid = next(process.pid for process in running_processes(home) if process.name == name)
            results += [measure(name, port, pid, batch, connections, seconds) for batch in (100, 1)]
        return results


@click.command()
@click.option("--seconds", default=5.0, show_default=True, help="How long each load lasts.")
@click.option("--connections", default=16, show_default=True, help="Requests at a time.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON array.")
def main(seconds: float, connections: int, as_json: bool) -> None:
    """Events over HTTP into the stream."""
    results = run(seconds, connections)
    if as_json:
        click.echo(json.dumps([result._asdict() for result in results]))
        return
    table = Table("collector", "events/request", "events/s", "events/s a core", "cores", "p50 ms", "p99 ms", box=None)
    for result in results:
        table.add_row(
            result.server,
            str(result.batch),
            f"{result.events_per_second:,.0f}",
            f"{result.per_core:,.0f}",
            f"{result.server_cores:.2f}",
            f"{result.p50_milliseconds:.1f}",
            f"{result.p99_milliseconds:.1f}",
        )
    Console().print(table)


def _answers(port: int) -> bool:
    try:
        return httpx.get(f"http://{LOOPBACK}:{port}/health", trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


if __name__ == "__main__":
    main()
