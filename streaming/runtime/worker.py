"""A worker process: `python -m streaming.runtime.worker delivery|consumers [--metrics-port PORT]`.

`delivery` lands the streams `events` (through the Lambda `enrichment`) and `high_intent` in the lake; `consumers` feeds
the Lambdas `last_access` and `high_intent`. A thread serves each shard of each consumer: what takes the time (sockets,
JSON to Parquet, gzip, SQL) releases the interpreter's lock, and a shard that waits for a retry holds up no other.

Several workers of a kind share the shards by leases, those that a stream gets later as well. SIGTERM ends a worker when
its buffers are in the lake.
"""

import argparse
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event, Lock, Thread
from types import FrameType
from uuid import uuid4

from prometheus_client import start_http_server

from streaming.domain.layout import failed_prefix
from streaming.domain.tables import ENRICHED_LANDING, HIGH_INTENT_VIEWS, RAW_EVENTS
from streaming.edges.backoff import pause_seconds, until_done
from streaming.edges.event_stream import DELIVERY, EVENTS, HIGH_INTENT, SHARD_END, LeaseLost, StreamUnavailable
from streaming.edges.lake import LocalLake
from streaming.edges.redis_stream import verify_stream_server
from streaming.edges.shard_leases import LeasedStream, ShardLease
from streaming.edges.streams import open_event_stream
from streaming.runtime.delivery_stream import DeliveryOptions, DeliveryStream
from streaming.runtime.event_source_mapping import EventSourceMapping, MappingOptions
from streaming.runtime.lambda_host import Handler, LambdaHost
from streaming.runtime.structured_logs import log_to_stderr
from streaming.runtime.transform import Transform
from streaming.settings import SettingError, Settings, load_settings

_log = logging.getLogger(__name__)

_FIRST_PAUSE_SECONDS = 0.2
_MAX_PAUSE_SECONDS = 5.0
_STANDBY_SECONDS = 0.5
_NEW_SHARDS_SECONDS = 2.0


@dataclass(frozen=True)
class Consumer:
    """What reads a stream under a name of its own: `run` works on one leased shard until it is told to stop."""

    name: str
    stream: LeasedStream
    run: Callable[[LeasedStream, ShardLease, Event], None]


def delivery(settings: Settings) -> list[Consumer]:
    """The delivery streams."""
    from streaming.handlers import enrichment  # noqa: PLC0415 - each kind of worker needs its own handlers only

    lake = LocalLake(settings.lake)
    function = _host("enrichment", enrichment.lambda_handler, settings)
    transform = Transform(function, EVENTS, settings.delivery_transform_bytes)
    options = events_options(settings)
    views = replace(
        options,
        name=HIGH_INTENT,
        table=HIGH_INTENT_VIEWS,
        raw_prefix=None,
        conversion_errors="errors/high_intent_views",
    )
    return [
        Consumer(DELIVERY, open_event_stream(settings, EVENTS), DeliveryStream(options, lake, transform).run),
        Consumer(DELIVERY, open_event_stream(settings, HIGH_INTENT), DeliveryStream(views, lake).run),
    ]


def events_options(settings: Settings) -> DeliveryOptions:
    """Where the events are delivered, and how often."""
    return DeliveryOptions(
        name=EVENTS,
        table=ENRICHED_LANDING,
        buffer_bytes=settings.delivery_buffer_bytes,
        buffer_seconds=settings.delivery_buffer_seconds,
        raw_prefix=RAW_EVENTS.prefix,
        transform_errors=failed_prefix("enrichment"),
        conversion_errors=failed_prefix("delivery"),
        retention_seconds=settings.stream_retention_seconds,
    )


def consumers(settings: Settings) -> list[Consumer]:
    """The functions that read the events."""
    from streaming.handlers import high_intent, last_access  # noqa: PLC0415

    lake = LocalLake(settings.lake)
    retries = settings.consumer_retries

    def mapping(name: str, handler: Handler, options: MappingOptions) -> Consumer:
        function = _host(name, handler, settings)
        # A stream keeps what it has read ahead for one reader.
        events = open_event_stream(settings, EVENTS)
        return Consumer(name, events, EventSourceMapping(function, EVENTS, lake, options).run)

    return [
        mapping("last_access", last_access.lambda_handler, MappingOptions(settings.last_access_batch, 0.1, retries)),
        mapping("high_intent", high_intent.lambda_handler, MappingOptions(500, 0.5, retries)),
    ]


ROLES = {"delivery": delivery, "consumers": consumers}


class Worker:
    """Serves every shard of its consumers, under leases that it keeps renewed, until `stop` is set."""

    def __init__(self, consumers: list[Consumer], lease_seconds: float, stop: Event) -> None:
        self._consumers = consumers
        self._lease_seconds = lease_seconds
        self._stop = stop
        self._owner = f"{socket.gethostname()}:{os.getpid()}:{uuid4().hex}"
        self._threads: dict[tuple[int, str], Thread] = {}
        self._leases: set[ShardLease] = set()
        self._lock = Lock()
        self.failed = False

    def run(self, ready: Callable[[], None]) -> None:
        """Work until `stop` is set and every buffer is delivered. `ready` is called when every shard was asked for."""
        ended = Event()
        Thread(target=self._renew, args=[ended], name="leases", daemon=True).start()
        for asked in until_done(self._serve_new_shards, self._stop):
            asked.wait()
        if not self._stop.is_set():
            ready()
        while not self._stop.wait(_NEW_SHARDS_SECONDS):
            try:
                self._serve_new_shards()
            except StreamUnavailable as error:
                _log.warning("new shards are looked for later: %s", error)
        for thread in self._threads.values():
            thread.join()
        ended.set()

    def _serve_new_shards(self) -> list[Event]:
        """Start a thread for each shard that has none; what each sets when it has asked for its lease."""
        events = []
        for number, consumer in enumerate(self._consumers):
            for shard in consumer.stream.list_shards():
                if (number, shard) in self._threads:
                    continue
                asked = Event()
                thread = Thread(target=self._serve, args=[consumer, shard, asked], name=f"{consumer.name} {shard}")
                self._threads[number, shard] = thread
                thread.start()
                events.append(asked)
        return events

    def _serve(self, consumer: Consumer, shard: str, asked: Event) -> None:
        try:
            self._serve_shard(consumer, shard, asked)
        except BaseException:
            # One thread that cannot go on must not leave a process that looks alive; the supervisor starts it afresh.
            _log.critical("%s %s ends the worker", consumer.name, shard, exc_info=True)
            self.failed = True
            self._stop.set()
        finally:
            asked.set()

    def _serve_shard(self, consumer: Consumer, shard: str, asked: Event) -> None:
        failures = 0
        while not self._stop.is_set():
            try:
                lease = consumer.stream.acquire(shard, consumer.name, self._owner, self._lease_seconds)
                asked.set()
                if lease is None:
                    self._stop.wait(_STANDBY_SECONDS)
                    continue
                if lease.start.caught_up_to == SHARD_END:
                    lease.release()
                    return
                with self._renewed(lease):
                    consumer.run(consumer.stream, lease, self._stop)
                    lease.release()
                failures = 0
            except LeaseLost as error:
                _log.warning("%s", error)
            except (StreamUnavailable, OSError) as error:
                _log.warning("%s %s begins again: %s", consumer.name, shard, error)
                self._stop.wait(pause_seconds(failures, _FIRST_PAUSE_SECONDS, _MAX_PAUSE_SECONDS))
                failures += 1

    @contextmanager
    def _renewed(self, lease: ShardLease) -> Iterator[None]:
        with self._lock:
            self._leases.add(lease)
        try:
            yield
        finally:
            with self._lock:
                self._leases.discard(lease)

    def _renew(self, ended: Event) -> None:
        while not ended.wait(self._lease_seconds / 3):
            with self._lock:
                leases = [lease for lease in self._leases if not lease.lost]
            for lease in leases:
                try:
                    lease.renew()
                except (LeaseLost, StreamUnavailable) as error:
                    _log.warning("a lease was not renewed: %s", error)


def main(arguments: list[str]) -> int:
    """Run a worker until SIGTERM or SIGINT; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m streaming.runtime.worker")
    parser.add_argument("role", choices=ROLES)
    parser.add_argument("--metrics-port", type=int, help="Serve what it counts, for Prometheus, on this loopback port.")
    options = parser.parse_args(arguments)
    log_to_stderr(f"worker-{options.role}")
    stop = Event()

    def request_stop(_signal: int, _frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, request_stop)
    signal.signal(signal.SIGINT, request_stop)
    try:
        return _work(options.role, options.metrics_port, load_settings(), stop)
    except SettingError as error:
        _log.critical("%s", error)
        return 2
    except StreamUnavailable:
        _log.warning("stopped before the stream was reached")
        return 0


def _work(role: str, metrics_port: int | None, settings: Settings, stop: Event) -> int:
    until_done(lambda: verify_stream_server(settings.redis_url), stop)
    consumers = ROLES[role](settings)
    if metrics_port:
        _serve_metrics(metrics_port)
    worker = Worker(consumers, settings.lease_seconds, stop)
    worker.run(_announce_ready)
    return 1 if worker.failed else 0


def _serve_metrics(port: int) -> None:
    try:
        start_http_server(port, "127.0.0.1")
    except OSError as error:  # a port that is taken costs the figures, not the events
        _log.error("no metrics are served: %s", error)


def _announce_ready() -> None:
    if path := os.environ.get("CLICKSTREAM_READY_FILE"):
        Path(path).touch()
    _log.info("ready")


def _host(name: str, handler: Handler, settings: Settings) -> LambdaHost:
    return LambdaHost(name, handler, settings.function_timeout_seconds)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
