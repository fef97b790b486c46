"""The health as Prometheus metrics, together with what the processes count themselves: one target to scrape."""

from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from streaming.runtime.health.alerts import CONDITIONS, active_alerts
from streaming.runtime.health.ledger import STATES
from streaming.runtime.health.report import Health, StreamHealth, measure, scrape
from streaming.settings import Settings

_SHARD = ["stream", "consumer", "shard"]


class PlatformMetrics(Collector):
    """Measures the platform when it is scraped, and scrapes its processes.

    `targets` are the processes' own metrics, by name; each of their samples gets the label `process`.
    """

    def __init__(self, settings: Settings, targets: Mapping[str, str]) -> None:
        self._settings = settings
        self._targets = targets

    def describe(self) -> list[Metric]:
        """Nothing, lest registration measure."""
        return []

    def collect(self) -> Iterator[Metric]:
        """All metrics. What does not answer is missing, and its `clickstream_up` is 0."""
        with ThreadPoolExecutor(len(self._targets) + 1) as threads:
            scraped = threads.map(scrape, self._targets.values())
            health = measure(self._settings)
            answers = dict(zip(self._targets, scraped, strict=True))
        yield _up(health, answers)
        yield _alerts(health, self._settings)
        yield from _ledger(health)
        yield from _disk(health)
        if health.stream:
            yield from _stream(health.stream)
        yield from _merged(answers)


def _up(health: Health, answers: Mapping[str, list[Metric] | None]) -> Metric:
    up = GaugeMetricFamily("clickstream_up", "Whether a process is ready and answers", labels=["component"])
    components = {name: process.state == "ready" for name, process in health.processes.items()}
    for name, metrics in answers.items():
        components[name] = components.get(name, True) and metrics is not None
    components["stream"] = health.stream is not None
    for name, is_up in components.items():
        up.add_metric([name], is_up)
    return up


def _alerts(health: Health, settings: Settings) -> Metric:
    alerts = GaugeMetricFamily(
        "clickstream_alert_active", "Whether an alert of ./run status is active", labels=["alert", "severity"]
    )
    active = {alert.name for alert in active_alerts(health, settings)}
    for condition in CONDITIONS:
        alerts.add_metric([condition.name, condition.severity], condition.name in active)
    return alerts


def _ledger(health: Health) -> Iterator[Metric]:
    ledger, recent = health.ledger, health.ledger.recent
    hours = GaugeMetricFamily(
        "clickstream_ledger_hours", "Hours of arrival, by the state of their ledger", labels=["state"]
    )
    for state in STATES:
        hours.add_metric([state], ledger.hours.get(state, 0))
    yield hours
    failed = GaugeMetricFamily(
        "clickstream_recent_failed_records", "Records of the newest hours that failed", labels=["type"]
    )
    for type_, records in recent.failures_by_type.items():
        failed.add_metric([type_], records)
    yield failed
    yield _gauge(
        "clickstream_ledger_unaccounted_records", "Missing and unknown records of red hours", ledger.unaccounted_records
    )
    yield _gauge("clickstream_ledger_overdue_hours", "Hours that should be settled and are not", len(ledger.overdue))
    yield _gauge("clickstream_ledger_degraded_hours", "Hours with too many degraded rows", len(ledger.degraded))
    yield _gauge("clickstream_recent_records", "Records of the newest hours", recent.raw_records)
    yield _gauge("clickstream_recent_enriched_records", "Those of them that were enriched", recent.enriched_records)
    yield _gauge(
        "clickstream_recent_degraded_records",
        "Those that an outage left without name or place",
        recent.degraded_records,
    )
    yield _gauge(
        "clickstream_recent_conflicting_clicks", "click_ids with different contents", recent.conflicting_clicks
    )
    if ledger.last_sealed:
        yield _gauge(
            "clickstream_ledger_last_sealed_timestamp_seconds",
            "Start of the newest sealed hour",
            ledger.last_sealed.timestamp(),
        )


def _disk(health: Health) -> Iterator[Metric]:
    yield _gauge("clickstream_lake_disk_used_bytes", "What is used of the lake's disk", health.disk_used_bytes)
    yield _gauge("clickstream_lake_disk_free_bytes", "What is left of it", health.disk_free_bytes)


def _stream(stream: StreamHealth) -> Iterator[Metric]:
    taken = CounterMetricFamily("clickstream_stream_records", "Records a shard ever took", labels=["stream", "shard"])
    for name, shards in stream.records.items():
        for shard, count in shards.items():
            taken.add_metric([name, shard], count)
    records = GaugeMetricFamily("clickstream_backlog_records", "Records before a consumer", labels=_SHARD)
    limit = GaugeMetricFamily("clickstream_backlog_limit_records", "How many a shard takes", labels=_SHARD)
    age = GaugeMetricFamily("clickstream_backlog_age_seconds", "Age of the oldest record before it", labels=_SHARD)
    trimmed = GaugeMetricFamily("clickstream_backlog_trimmed_records", "Those trimmed unread", labels=_SHARD)
    lost = CounterMetricFamily("clickstream_lost_records", "Records it passed over, trimmed unread", labels=_SHARD)
    for row in stream.backlog:
        labels = [row.stream, row.consumer, row.shard]
        if row.records is not None:
            records.add_metric(labels, row.records)
        age.add_metric(labels, row.oldest_age_seconds)
        trimmed.add_metric(labels, row.trimmed_unread)
        lost.add_metric(labels, row.lost_records)
        if row.limit:
            limit.add_metric(labels, row.limit)
    yield from (taken, records, limit, age, trimmed, lost)
    yield _gauge(
        "clickstream_delivery_age_seconds", "How far delivery to the lake is behind now", stream.delivery_age_seconds
    )


def _gauge(name: str, documentation: str, value: float) -> Metric:
    return GaugeMetricFamily(name, documentation, value)


def _merged(answers: Mapping[str, Iterable[Metric] | None]) -> Iterator[Metric]:
    """The processes' metrics; one that several of them have is one metric."""
    merged: dict[str, Metric] = {}
    for process, metrics in answers.items():
        for metric in metrics or ():
            into = merged.setdefault(metric.name, Metric(metric.name, metric.documentation, metric.type))
            into.samples += [sample._replace(labels={**sample.labels, "process": process}) for sample in metric.samples]
    yield from merged.values()
