"""The platform as strikes and checks see it: from outside, by its processes, its servers and its stream."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event

import psutil
import redis

from commands.platform import dagster_environment
from streaming.edges.event_stream import EventStream, StreamUnavailable
from streaming.edges.streams import open_event_stream
from streaming.runtime.health.report import CONSUMERS
from streaming.runtime.supervisor import running_processes, running_system
from streaming.settings import ROOT, Settings

PIPELINE = ("stream-redis", "cache-redis", "mariadb", "delivery", "consumers", "collector")
MATERIALIZE = ("commands", "materialize")
POLL_SECONDS = 0.1
REDIS_SECONDS = 10.0
# Beyond the delivery buffer, how old the oldest record of a platform in peace may be.
PATIENCE_SECONDS = 5.0


class Target:
    """A platform that runs in `home`. `stream` is where strikes put records.

    `stop` asks for an early end; `gone` says that nothing runs any more.
    """

    def __init__(self, home: Path, settings: Settings, stream: EventStream, stop: Event) -> None:
        self.home = home
        self.settings = settings
        self.stream = stream
        self.stop = stop
        self.gone = Event()
        self.stream_redis = redis.Redis.from_url(settings.redis_url, socket_timeout=REDIS_SECONDS)
        self.cache_redis = redis.Redis.from_url(settings.cache_redis_url, socket_timeout=REDIS_SECONDS)
        self.cache_was_wiped = False
        self._consumers = [(open_event_stream(settings, name), consumer) for name, consumer in CONSUMERS]

    def processes(self, *names: str) -> list[psutil.Process]:
        """Those of these services that run now."""
        return [process for name, process in self._running() if name in names]

    def signal(self, signum: signal.Signals, *names: str) -> None:
        """Send a signal to services, all at once."""
        for process in self.processes(*names):
            with suppress(psutil.NoSuchProcess):
                process.send_signal(signum)

    def seconds_up(self, *names: str) -> float:
        """How long the youngest of these services has run; 0 while one of them does not."""
        started = [process.create_time() for process in self.processes(*names)]
        return time.time() - max(started) if len(started) == len(names) else 0.0

    def is_well(self) -> bool:
        """Whether every service is ready, and no record waits longer than it does in peace."""
        ready = (running_system(self.home) or {}).get("ready", ())
        if len(self.processes(*PIPELINE)) < len(PIPELINE) or not set(PIPELINE) <= set(ready):
            return False
        try:
            return self._oldest_age() < self.settings.delivery_buffer_seconds + PATIENCE_SECONDS
        except StreamUnavailable:
            return False

    def put(self, records: Sequence[tuple[str, bytes]]) -> None:
        """Put records on the stream, whatever it takes."""
        while records and not self.stop.is_set():
            results = self.stream.put_records(records)
            records = [record for record, result in zip(records, results, strict=True) if result.error_code]
            self.stop.wait(POLL_SECONDS)

    def run(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run a Python module to its end."""
        return subprocess.run(
            [sys.executable, "-m", *arguments], cwd=ROOT, env=os.environ | dagster_environment(self.home),
            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, start_new_session=True,
        )  # fmt: skip

    @contextmanager
    def process(self, name: str, *arguments: str) -> Iterator["subprocess.Popen[bytes]"]:
        """Run a Python module beside the services; what it says is in its log, and at the end it is killed."""
        with (self.home / "logs" / f"soak-{name}.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", *arguments], cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip
        try:
            yield process
        finally:
            process.kill()
            process.wait()

    def _running(self) -> Iterator[tuple[str, psutil.Process]]:
        for identity in running_processes(self.home):
            if process := identity.process():
                yield identity.name, process

    def _oldest_age(self) -> float:
        return max(
            shard.oldest_age_seconds
            for stream, consumer in self._consumers
            for shard in stream.backlog(consumer).values()
        )
