"""What is measured of a running platform, and how. Nothing that is down or slow keeps the rest from being measured."""

import shutil
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import urllib3
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from streaming.edges.event_stream import DELIVERY, EVENTS, HIGH_INTENT, StreamUnavailable, caught_up
from streaming.edges.shard_leases import LeasedStream
from streaming.edges.streams import open_event_stream
from streaming.runtime.health.ledger import LedgerHealth, ledger_health, share
from streaming.runtime.supervisor import running_processes, running_system
from streaming.settings import Settings

CONSUMERS = ((EVENTS, DELIVERY), (EVENTS, "last_access"), (EVENTS, "high_intent"), (HIGH_INTENT, DELIVERY))
RATE_SECONDS = 10
INDEX_FILE = "ledger_index.json"
# The collector itself waits a second for the stream before it says that it does not answer.
_SCRAPE_SECONDS = 3.0
_REFUSED = "collector_events_refused_total"

ProcessState = Literal["ready", "starting", "dead"]


@dataclass(frozen=True)
class Process:
    """A process of the supervisor."""

    pid: int
    state: ProcessState


@dataclass(frozen=True)
class ShardBacklog:
    """What a consumer has before it in a shard; `limit` is from how many on the shard refuses (delivery's alone).

    Kinesis does not count: there `records` is None, and the age is how far the consumer is behind now.
    """

    stream: str
    consumer: str
    shard: str
    records: int | None
    limit: int | None
    oldest_age_seconds: float
    trimmed_unread: int
    lost_records: int
    lost_at: datetime | None


@dataclass(frozen=True)
class StreamHealth:
    """The event stream. `records` counts all it ever took, by stream and shard; the rate is of the last ten seconds,
    None on Kinesis, which does not count.

    `caught_up_to`: every event that arrived before this moment is in the lake; None while a shard was never delivered,
    and then delivery's age is that of the oldest record before it. On AWS it is as far as CloudWatch proves; the age is
    0 while nothing comes, and the rest is CloudWatch's own.
    """

    records: dict[str, dict[str, int]]
    accepted_per_second: float | None
    caught_up_to: datetime | None
    delivery_age_seconds: float
    backlog: list[ShardBacklog]


@dataclass(frozen=True)
class Health:
    """The state of a platform at one moment.

    Without a supervisor there are no `processes`, and nothing is `up_since`. `stream` is None when it does not answer
    or has no address, `refused` (events by type, since the collector started) when the collector does not answer. The
    disk is the lake's; on AWS that of the copies.
    """

    at: datetime
    home: Path
    up_since: datetime | None
    processes: dict[str, Process]
    stream: StreamHealth | None
    refused: dict[str, float] | None
    ledger: LedgerHealth
    disk_used_bytes: int
    disk_free_bytes: int

    @property
    def disk_used_share(self) -> float:
        """Share of what this user may fill of the lake's disk, 0 to 1."""
        return share(self.disk_used_bytes, self.disk_used_bytes + self.disk_free_bytes)


def measure(settings: Settings) -> Health:
    """Measure now; takes a few seconds at most, whatever does not answer."""
    at = datetime.now(UTC)
    with ThreadPoolExecutor(1) as aside:
        # Without a collector of ours, what answers at the default address is another platform's.
        refused = aside.submit(refused_events, settings) if "collector" in processes(settings.home) else None
        stream = _stream(settings, at) if settings.redis_url else None
        caught_up_to = stream.caught_up_to if stream else None
        index = settings.home / INDEX_FILE
        ledger = ledger_health(settings.lake, index, at, caught_up_to, settings.alert_degraded_share)
    return health_here(settings, at, stream, ledger, refused.result() if refused else None)


def health_here(
    settings: Settings,
    at: datetime,
    stream: StreamHealth | None,
    ledger: LedgerHealth,
    refused: dict[str, float] | None = None,
) -> Health:
    """What was measured of stream, ledger and collector, with the processes and the disk of this machine."""
    system = running_system(settings.home)
    disk = shutil.disk_usage(_nearest_folder(settings.lake))
    return Health(
        at=at,
        home=settings.home,
        up_since=datetime.fromtimestamp(system["started"], UTC) if system else None,
        processes=processes(settings.home),
        stream=stream,
        refused=refused,
        ledger=ledger,
        disk_used_bytes=disk.used,
        disk_free_bytes=disk.free,
    )


def processes(home: Path) -> dict[str, Process]:
    """The processes of a home's supervisor by name; none when no supervisor runs."""
    system = running_system(home)
    if system is None:
        return {}
    return {
        identity.name: Process(identity.pid, _state(identity.process() is not None, identity.name in system["ready"]))
        for identity in running_processes(home)
    }


def refused_events(settings: Settings) -> dict[str, float] | None:
    """Events the collector refused since it started, by type; None when it does not answer."""
    metrics = scrape(f"{settings.collector_url}/metrics")
    if metrics is None:
        return None
    samples = (sample for metric in metrics for sample in metric.samples if sample.name == _REFUSED)
    return {sample.labels["type"]: sample.value for sample in samples}


def scrape(url: str) -> list[Metric] | None:
    """What a process says in Prometheus' text format; None when it does not answer in time."""
    try:
        answer = urllib3.request("GET", url, timeout=urllib3.Timeout(total=_SCRAPE_SECONDS), retries=False)
    except urllib3.exceptions.HTTPError:
        return None
    return list(text_string_to_metric_families(answer.data.decode())) if answer.status == 200 else None


def _stream(settings: Settings, at: datetime) -> StreamHealth | None:
    try:
        with (
            closing(open_event_stream(settings, EVENTS)) as events,
            closing(open_event_stream(settings, HIGH_INTENT)) as views,
        ):
            streams = {EVENTS: events, HIGH_INTENT: views}
            intake = {name: stream.intake(RATE_SECONDS) for name, stream in streams.items()}
            backlog = [row for name, consumer in CONSUMERS for row in _backlog(streams[name], consumer)]
            caught_up_to = caught_up(events.checkpoints().values())
    except StreamUnavailable:
        return None
    records = {name: {shard: taken.records for shard, taken in shards.items()} for name, shards in intake.items()}
    taken_lately = [taken.recent_records for taken in intake[EVENTS].values()]
    rate = sum(taken_lately) / RATE_SECONDS if taken_lately else None
    waiting = [row.oldest_age_seconds for row in backlog if (row.stream, row.consumer) == (EVENTS, DELIVERY)]
    age = max(0.0, (at - caught_up_to).total_seconds()) if caught_up_to else max(waiting, default=0.0)
    return StreamHealth(records, rate, caught_up_to, age, backlog)


def _backlog(stream: LeasedStream, consumer: str) -> list[ShardBacklog]:
    limit = stream.shard_limit if consumer == DELIVERY else None
    rows: dict[str, Any] = stream.backlog(consumer)
    return [
        ShardBacklog(stream.name, consumer, shard, limit=limit, **before._asdict()) for shard, before in rows.items()
    ]


def _state(alive: bool, ready: bool) -> ProcessState:
    if not alive:
        return "dead"
    return "ready" if ready else "starting"


def _nearest_folder(path: Path) -> Path:
    """The folder itself, or the first one above it that is there."""
    return next(folder for folder in (path, *path.parents) if folder.is_dir())
