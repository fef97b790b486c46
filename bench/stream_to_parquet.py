"""Stream to Parquet: what one delivery worker lands, against the same work as an ordinary person writes it.

Both are processes of their own, between the same private Redis servers and a directory; their CPU and memory are the
kernel's figures. The worker is the one of `./run up`: enrichment, raw copy, Parquet, fsync, checkpoints and all.
"""

import base64
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import NamedTuple

import click
import psutil
from mmdb_writer import MMDBWriter
from netaddr import IPSet
from rich.console import Console
from rich.table import Table

from bench.enrichment import fill_cache, firehose_batch
from streaming.domain.envelope import open_record, raw_line
from streaming.domain.tables import ENRICHED_LANDING
from streaming.edges.event_stream import EVENTS, MAX_PUT_RECORDS, StreamRecord
from streaming.edges.lake import LocalLake, gzip_bytes
from streaming.edges.parquet import arrow_schema, convert, parquet_bytes
from streaming.edges.redis_stream import RedisEventStream
from streaming.runtime.lambda_host import LambdaHost
from streaming.runtime.servers import LOOPBACK, free_port, redis_service
from streaming.runtime.supervisor import Supervisor
from streaming.runtime.transform import Transform
from streaming.settings import ROOT

SHARDS = 4
BUFFER_SECONDS = 2
FLUSH_RECORDS = 7_000


class Measurement(NamedTuple):
    """One process: events a second of wall clock and of CPU, CPU seconds a million, peak resident memory in MB."""

    name: str
    events_per_second: float
    events_per_core_second: float
    cpu_seconds_per_million: float
    peak_megabytes: float


class Servers(NamedTuple):
    """Where the private servers are, and where files may go."""

    stream_url: str
    cache_url: str
    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "REDIS_URL": self.stream_url,
            "CACHE_REDIS_URL": self.cache_url,
            "CLICKSTREAM_HOME": str(self.folder / "home"),
            "CLICKSTREAM_SHARDS": str(SHARDS),
            "CLICKSTREAM_STREAM_BACKLOG": "10000000",
            "CLICKSTREAM_DELIVERY_BUFFER_SECONDS": str(BUFFER_SECONDS),
            "CLICKSTREAM_READY_FILE": str(self.folder / "ready"),
            "GEOIP_DATABASE": str(self.folder / "places.mmdb"),
        }


@contextmanager
def private_servers() -> Iterator[Servers]:
    """A stream Redis and a cache Redis with the names and places of the bench's users."""
    with tempfile.TemporaryDirectory() as name, Supervisor(Path(name), lambda _: None, stop_signals=()) as supervisor:
        folder, ports = Path(name), (free_port(), free_port())
        for role, port in zip(("stream-redis", "cache-redis"), ports, strict=True):
            supervisor.start(redis_service(role, folder / role, port))
        stream_url, cache_url = (f"redis://{LOOPBACK}:{port}/0" for port in ports)
        fill_cache(cache_url)
        write_places(folder / "places.mmdb")
        yield Servers(stream_url, cache_url, folder)


def write_places(path: Path) -> None:
    """A geo database in which the bench's addresses are in Riverside."""
    writer = MMDBWriter(ip_version=4, database_type="city ipv4", float_type="f32")
    place = {"city": "Riverside", "state1": "California", "country_code": "US", "latitude": 33.98, "longitude": -117.33}
    writer.insert_network(IPSet(["23.0.0.0/8"]), place)
    writer.to_db_file(str(path))


def records(events: int) -> list[tuple[str, bytes]]:
    """Enveloped events with their users."""
    found: list[tuple[str, bytes]] = []
    for seed in range(-(-events // 2_500)):
        batch = [base64.b64decode(record["data"]) for record in firehose_batch(seed)["records"]]
        found += [(json.loads(data)["event"]["user_id"], data) for data in batch]
    return found[:events]


def put_all(servers: Servers, events: list[tuple[str, bytes]]) -> None:
    """Put everything on the stream."""
    stream = RedisEventStream(servers.stream_url, EVENTS, SHARDS, 10_000_000)
    for start in range(0, len(events), MAX_PUT_RECORDS):
        results = stream.put_records(events[start : start + MAX_PUT_RECORDS])
        if any(result.error_code for result in results):
            raise RuntimeError("the stream refused records")


def worker(servers: Servers, events: list[tuple[str, bytes]]) -> Measurement:
    """Our delivery worker: from ready and idle until its backlog is empty."""
    stream = RedisEventStream(servers.stream_url, EVENTS, SHARDS, 10_000_000)
    process = _start(servers, "streaming.runtime.worker", "delivery")
    while not (servers.folder / "ready").exists():
        time.sleep(0.05)
    before = _cpu(process.pid)
    started = time.perf_counter()
    put_all(servers, events)
    while any(backlog.records for backlog in stream.backlog().values()):
        time.sleep(0.05)
    wall, cpu, peak = time.perf_counter() - started, _cpu(process.pid) - before, _peak_megabytes(process.pid)
    process.terminate()
    process.wait()
    return _measurement("the worker", len(events), wall, cpu, peak)


def plain(servers: Servers, events: list[tuple[str, bytes]]) -> Measurement:
    """The plain program over the same records, its start included; it reads what is there and never waits."""
    put_all(servers, events)
    lake = servers.folder / "plain"
    lake.mkdir()
    arguments = [servers.stream_url, servers.cache_url, str(lake), str(len(events))]
    started = time.perf_counter()
    process = _start(servers, "bench._plain_delivery", *arguments)
    cpu = peak = 0.0
    while process.poll() is None:
        cpu, peak = _cpu(process.pid), max(peak, _peak_megabytes(process.pid))
        time.sleep(0.02)
    return _measurement("json and from_pylist", len(events), time.perf_counter() - started, cpu, peak)


def breakdown(servers: Servers, events: list[tuple[str, bytes]]) -> dict[str, float]:
    """CPU of each step of one flush, in µs an event."""
    put_all(servers, events[: FLUSH_RECORDS * SHARDS * 2])
    stream = RedisEventStream(servers.stream_url, EVENTS, SHARDS, 10_000_000)
    shard = stream.list_shards()[0]
    read: list[StreamRecord] = []
    steps = {"read": _microseconds(lambda: _read(stream, shard, read))}
    os.environ.update(servers.environment)
    from streaming.handlers.enrichment import lambda_handler  # noqa: PLC0415 - reads the settings when first invoked

    transform = Transform(LambdaHost("enrichment", lambda_handler, 60), EVENTS, 1_000_000)
    outcomes = transform.outcomes(shard, read, Event())
    steps["transform"] = _microseconds(lambda: transform.outcomes(shard, read, Event()))
    lines = [outcome for outcome in outcomes if isinstance(outcome, bytes)]
    raw = b"".join(raw_line(open_record(record.data, record.arrival)) for record in read)
    steps["raw copy"] = _microseconds(lambda: [raw_line(open_record(record.data, record.arrival)) for record in read])
    steps["gzip"] = _microseconds(lambda: gzip_bytes(raw))
    schema = arrow_schema(ENRICHED_LANDING)
    rows = convert(lines, schema).rows
    steps["JSON to columns"] = _microseconds(lambda: convert(lines, schema))
    steps["Parquet"] = _microseconds(lambda: parquet_bytes(rows))
    lake, data = LocalLake(servers.folder / "lake"), parquet_bytes(rows)
    steps["publish"] = _microseconds(lambda: lake.publish("raw/a", data))
    return {step: microseconds / len(read) for step, microseconds in steps.items()}


@click.command()
@click.option("--events", default=300_000, show_default=True, help="Events to deliver.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def main(events: int, as_json: bool) -> None:
    """Stream to Parquet, one worker."""
    batch = records(events)
    results = []
    for contender in (plain, worker):
        with private_servers() as servers:
            results.append(contender(servers, batch))
    with private_servers() as servers:
        steps = breakdown(servers, batch)
    if as_json:
        click.echo(json.dumps({"processes": {r.name: r._asdict() for r in results}, "microseconds_per_event": steps}))
        return
    table = Table("stream to Parquet", "events/s", "events/s a core", "CPU s per million", "peak MB", box=None)
    for r in results:
        table.add_row(
            r.name,
            f"{r.events_per_second:,.0f}",
            f"{r.events_per_core_second:,.0f}",
            f"{r.cpu_seconds_per_million:.1f}",
            f"{r.peak_megabytes:.0f}",
        )
    Console().print(table)
    click.echo("CPU of a flush, µs an event: " + ", ".join(f"{step} {value:.2f}" for step, value in steps.items()))


def _start(servers: Servers, module: str, *arguments: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, "-m", module, *arguments], cwd=ROOT, env=servers.environment)


def _read(stream: RedisEventStream, shard: str, found: list[StreamRecord]) -> None:
    found.clear()
    while len(found) < FLUSH_RECORDS:
        found += stream.get_records(shard, found[-1].sequence_number if found else None, 500).records


def _microseconds(step: Callable[[], object]) -> float:
    """Median of five."""
    taken = []
    for _ in range(5):
        started = time.process_time()
        step()
        taken.append(time.process_time() - started)
    return sorted(taken)[2] * 1e6


def _cpu(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return times.user + times.system


def _peak_megabytes(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return next((int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM")), 0.0)


def _measurement(name: str, events: int, wall: float, cpu: float, peak: float) -> Measurement:
    return Measurement(name, events / wall, events / cpu, cpu * 1e6 / events, peak)


if __name__ == "__main__":
    main()
