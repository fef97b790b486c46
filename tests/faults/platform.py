"""A whole platform that a test may hurt: real processes in a home of its own, looked at as a user would."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any, Self

import httpx
import psutil
import redis

from commands.status import records_behind
from streaming.domain.envelope import new_record_ids, open_record, stamp
from streaming.domain.timestamps import format_timestamp
from streaming.edges.event_stream import EVENTS, Checkpoint, StreamUnavailable
from streaming.edges.redis_stream import RedisEventStream
from streaming.edges.streams import open_event_stream
from streaming.runtime.health.report import CONSUMERS
from streaming.runtime.supervisor import running_system
from streaming.settings import ROOT, Settings, load_settings

STREAM = ("stream-redis", "cache-redis", "mariadb", "delivery", "consumers", "collector")
DAGSTER = ("dagster-code", "dagster-webserver", "dagster-daemon")
# Servers that a test may bring itself, by the variable that names them.
SERVERS = {"stream-redis": "REDIS_URL", "cache-redis": "CACHE_REDIS_URL", "mariadb": "MYSQL_URL"}
START_SECONDS = 90
# The demo's: nobody who tests wants to wait a minute for a file.
QUICK = {"CLICKSTREAM_TRUST_PAYLOAD_IP": "1", "CLICKSTREAM_DELIVERY_BUFFER_SECONDS": "1"}


class Platform:
    """`./run up`, without Dagster unless asked for, in `home`; runs inside `with`. `settings` are environment variables
    for all of it.

    `accepted` holds the record_ids of everything that was acknowledged through `post` and `put`.
    """

    def __init__(self, home: Path, *, dagster: bool = False, **settings: str) -> None:
        own = {name for name in os.environ if name.endswith("_URL") or name.startswith("CLICKSTREAM_")}
        inherited = {name: value for name, value in os.environ.items() if name not in own}
        self.home = home
        self._options = [] if dagster else ["--no-dagster"]
        services = (*STREAM, *DAGSTER) if dagster else STREAM
        self._services = [name for name in services if SERVERS.get(name) not in settings]
        self.environment = {**inherited, **QUICK, **settings, "CLICKSTREAM_HOME": str(home), "PYTHONPATH": str(ROOT)}
        self.accepted: list[str] = []

    def __enter__(self) -> Self:
        self._log = self.home.with_suffix(".log").open("a+")
        self.up()
        return self

    def __exit__(self, *_: object) -> None:
        self.down()
        self._log.close()

    def up(self) -> None:
        """Start it and wait until it is ready."""
        self._process = subprocess.Popen(
            _command("up", *self._options), env=self.environment, cwd=ROOT, stdout=self._log, stderr=self._log,
            start_new_session=True,
        )  # fmt: skip
        self.wait_ready(*self._services)

    def down(self) -> None:
        """Stop it as Ctrl-C does."""
        for name in self.system.get("processes", {}):
            self.resume(name)
        if self._process.poll() is None:
            self._process.terminate()
        self._process.wait(90)

    @property
    def settings(self) -> Settings:
        """The settings in force, with the addresses of what runs."""
        named = {name: value for name, value in self.environment.items() if name.startswith("CLICKSTREAM_")}
        return load_settings(named)

    @property
    def system(self) -> dict[str, Any]:
        """What the supervisor says of its processes."""
        return running_system(self.home) or {}

    @property
    def lake(self) -> Path:
        return self.settings.lake

    def run(self, *arguments: str, status: int = 0, seconds: float = 120) -> str:
        """The standard output of a command that ends with this status."""
        finished = subprocess.run(
            _command(*arguments), env=self.environment, cwd=ROOT, capture_output=True, text=True, timeout=seconds,
            check=False,
        )  # fmt: skip
        assert finished.returncode == status, f"{arguments}: {finished.stdout}\n{finished.stderr}"
        return finished.stdout

    def send(self, *options: str, status: int = 0, seconds: float = 120) -> dict[str, Any]:
        """`./run send`: its summary."""
        summary: dict[str, Any] = json.loads(self.run("send", "--json", *options, status=status, seconds=seconds))
        return summary

    def post(
        self, events: bytes | Mapping[str, Any] | Sequence[Mapping[str, Any]], *, timeout: float = 10, **headers: str
    ) -> httpx.Response:
        """POST /events: bytes as they are, anything else as JSON."""
        body = events if isinstance(events, bytes) else json.dumps(events).encode()
        answer = httpx.post(
            f"{self.settings.collector_url}/events",
            content=body, headers={"content-type": "application/json", **headers}, timeout=timeout, trust_env=False,
        )  # fmt: skip
        if answer.status_code == 200:
            self.accepted += answer.json()["record_ids"]
        return answer

    def put(self, records: Iterable[bytes], key: str = "20") -> None:
        """Put records straight on the stream, past the collector, as one batch."""
        some = list(records)
        with closing(self.stream()) as stream:
            results = stream.put_records([(key, data) for data in some])
        assert all(result.error_code is None for result in results), results
        self.accepted += [open_record(data, datetime.now(UTC)).record_id for data in some]

    def put_at(self, moment: datetime, events: Iterable[bytes], key: str = "20") -> list[bytes]:
        """Put events in envelopes on the stream as if they had arrived at a moment; the records.

        A shard only takes records in order of arrival, so earlier moments come first, and before any other traffic.
        """
        texts = list(events)
        stamped = format_timestamp(moment)
        identities = new_record_ids(len(texts))
        records = [stamp(text, identity, stamped, None) for text, identity in zip(texts, identities, strict=True)]
        self.put_records_at(moment, records, key)
        self.accepted += identities
        return records

    def put_records_at(self, moment: datetime, records: Sequence[bytes], key: str = "20") -> None:
        """Put these very records on the stream as if they had arrived at a moment."""
        settings = self.settings
        with closing(self.stream()) as stream, redis.Redis.from_url(settings.redis_url) as server:
            shard = stream.shard_of(key)
            name = f"{EVENTS}:{shard}"
            last = server.xinfo_stream(name)["last-generated-id"].decode() if server.exists(name) else "0-0"
            ordinal = int(last.rpartition("-")[2])
            server.sadd(f"{EVENTS}:shards", shard)
            for number, data in enumerate(records, ordinal + 1):
                server.xadd(name, {"k": key, "d": data}, id=f"{round(moment.timestamp() * 1000)}-{number}")

    def stream(self) -> RedisEventStream:
        """A client of the stream."""
        return open_event_stream(self.settings, EVENTS)

    def shard_of(self, key: str) -> str:
        """The shard that records of a partition key go to."""
        with closing(self.stream()) as stream:
            return stream.shard_of(key)

    @contextmanager
    def stream_server(self) -> Iterator[redis.Redis]:
        """A connection to the stream's Redis."""
        with redis.Redis.from_url(self.settings.redis_url, decode_responses=True) as server:
            yield server

    @contextmanager
    def stream_takes_no_writes(self) -> Iterator[None]:
        """The stream's Redis lets everybody read and nobody write; what they wanted to write is never written."""
        with self.stream_server() as server:
            server.execute_command("CLIENT", "PAUSE", 60_000, "WRITE")
            try:
                yield
            finally:
                server.execute_command("CLIENT", "KILL", "TYPE", "normal")
                server.execute_command("CLIENT", "UNPAUSE")

    @contextmanager
    def cache_server(self) -> Iterator[redis.Redis]:
        """A connection to the cache's Redis."""
        with redis.Redis.from_url(self.settings.cache_redis_url, decode_responses=True) as server:
            yield server

    @contextmanager
    def failed_store_down(self) -> Iterator[None]:
        """Nothing can be written under `failed` of the lake."""
        store, away = self.lake / "failed", self.lake / ".failed"
        self.lake.mkdir(exist_ok=True)
        if store.exists():
            store.rename(away)
        store.touch()
        try:
            yield
        finally:
            store.unlink()
            if away.exists():
                away.rename(store)

    @contextmanager
    def unwritable(self, user: str) -> Iterator[None]:
        """The key of a user holds what `last_access` cannot write to."""
        with self.cache_server() as cache:
            cache.set(f"user:{user}", "no hash")
            try:
                yield
            finally:
                cache.delete(f"user:{user}")

    @contextmanager
    def under_load(self, batch_of: Callable[[str], list[dict[str, Any]]], pause_seconds: float) -> Iterator[None]:
        """Post batches of events while the block runs, each until it is acknowledged; `batch_of` makes one by name."""
        stop = Event()

        def post() -> None:
            batch = 0
            while not stop.wait(pause_seconds):
                address = self.system.get("environment", {}).get("COLLECTOR_URL")
                events = batch_of(f"load-{batch}")
                try:
                    answer = httpx.post(f"{address}/events", json=events, timeout=5, trust_env=False)
                except (httpx.HTTPError, httpx.InvalidURL):
                    continue
                if answer.status_code == 200:
                    self.accepted += answer.json()["record_ids"]
                    batch += 1

        with ThreadPoolExecutor(1) as poster:
            posting = poster.submit(post)
            try:
                yield
            finally:
                stop.set()
        posting.result()

    def pid(self, name: str) -> int:
        """The process of a service."""
        pid: int = self.system["processes"][name]["pid"]
        return pid

    def kill(self, *names: str) -> None:
        """kill -9, all at once; when this returns they are dead. The supervisor starts them again."""
        processes = [psutil.Process(self.pid(name)) for name in names]
        for process in processes:
            process.kill()
        psutil.wait_procs(processes, 10)

    def restart(self, *names: str) -> None:
        """kill -9, and wait until the supervisor has them ready again."""
        killed = [self.pid(name) for name in names]
        self.kill(*names)
        self.wait_replaced(killed)

    def kill_supervisor(self) -> None:
        """kill -9 who looks after all the others; `up` starts them anew."""
        self._process.kill()
        self._process.wait()

    @contextmanager
    def unattended(self) -> Iterator[None]:
        """Within the block the supervisor is stopped: what is killed stays dead until the block ends."""
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    def stop(self, name: str) -> None:
        """Stop a process as a debugger would: it keeps its connections, and does nothing."""
        process = psutil.Process(self.pid(name))
        process.suspend()
        self.wait(lambda: process.status() == psutil.STATUS_STOPPED, 10)

    def resume(self, name: str) -> None:
        """Let a stopped process go on."""
        if psutil.pid_exists(self.pid(name)):
            os.kill(self.pid(name), signal.SIGCONT)

    @contextmanager
    def process(self, *command: str) -> Iterator[subprocess.Popen[bytes]]:
        """One more process of the platform; it is asked to end when the block does, and is killed if it does not."""
        process = subprocess.Popen(command, env=self.environment, cwd=ROOT, stdout=self._log, stderr=self._log)
        try:
            yield process
            process.terminate()
            process.wait(30)
        finally:
            process.kill()
            process.wait()

    def wait_ready(self, *names: str, seconds: float = START_SECONDS) -> None:
        """Wait until these services are ready."""
        self.wait(lambda: set(names) <= set(self.system.get("ready", ())), seconds)

    def wait(self, condition: Callable[[], bool], seconds: float = START_SECONDS) -> None:
        """Wait until a condition holds, while the platform is up."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert self._process.poll() is None, self.log
            assert time.monotonic() < deadline, self.log
            time.sleep(0.05)

    def wait_replaced(self, killed: Collection[int]) -> None:
        """Wait until the supervisor has others ready in place of these processes."""
        gone = set(killed)
        self.wait(lambda: gone.isdisjoint(process["pid"] for process in self.system["processes"].values()))
        self.wait_ready(*self._services)

    def wait_delivered(self, seconds: float = START_SECONDS) -> None:
        """Wait until every consumer has done what is on the stream now."""
        now = datetime.now(UTC)
        on_kinesis = self.settings.stream == "kinesis"
        self.wait(partial(self._all_past, now) if on_kinesis else self._nothing_behind, seconds)

    def behind(self, consumer: str, key: str | None = None) -> int:
        """How many records of the events' stream a consumer has before it; with a key, in that key's shard."""
        with closing(self.stream()) as stream:
            backlogs = stream.backlog(consumer)
            return sum(backlogs[shard].records for shard in ([stream.shard_of(key)] if key else backlogs))

    def materialize(self, seconds: float = 180) -> dict[str, Any]:
        """`./run materialize`, once everything is delivered: its summary."""
        self.wait_delivered()
        summary: dict[str, Any] = json.loads(self.run("materialize", seconds=seconds).splitlines()[-1])
        return summary

    def query(self, sql: str) -> list[dict[str, Any]]:
        """`./run query`: the rows."""
        lines = self.run("query", "--format", "json", sql).splitlines()
        return [json.loads(line) for line in lines]

    def expect_invariant(self, accepted: Collection[str] | None = None) -> dict[str, Any]:
        """Materialize and hold the tables to invariant I; what they hold.

        By identity, accepted (None: all that `post` and `put` had acknowledged) = enriched ⊎ failed; one flattened row
        per click_id and event hour; additive aggregates sum to the flattened rows.
        """
        summary = self.materialize()
        identities = self.home.with_suffix(".acknowledged")
        expected = self.accepted if accepted is None else accepted
        identities.write_text("".join(f"{identity}\n" for identity in expected))
        verified = json.loads(self.run("verify", "--open", "--acknowledged", str(identities), "--json"))
        assert not any(verdict["broken"] for verdict in verified["promises"].values())
        assert summary["balanced"]
        return summary

    @property
    def log(self) -> str:
        """What the platform told the person who started it."""
        return self.home.with_suffix(".log").read_text()

    def checkpoints(self, stream_name: str, consumer: str) -> list[Checkpoint]:
        """How far a consumer is in each shard of a stream."""
        with closing(open_event_stream(self.settings, stream_name)) as stream:
            return list(stream.checkpoints(consumer).values())

    def _all_past(self, moment: datetime) -> bool:
        time.sleep(0.5)  # a stream that does not count is asked over HTTP
        try:
            found = [each for consumer in CONSUMERS for each in self.checkpoints(*consumer)]
        except StreamUnavailable:
            return False
        return all(each.caught_up_to is not None and each.caught_up_to > moment for each in found)

    def _nothing_behind(self) -> bool:
        try:
            return records_behind(self.settings) == 0
        except StreamUnavailable:
            return False


def _command(*arguments: str) -> list[str]:
    return [sys.executable, "-P", "-m", "commands", *arguments]
