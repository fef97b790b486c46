"""The backlog of consumers as Prometheus gauges: the local deployment's IteratorAge."""

from collections.abc import Iterator, Sequence

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from streaming.edges.event_stream import StreamUnavailable
from streaming.edges.redis_stream import RedisEventStream

_LABELS = ["stream", "consumer", "shard"]


class BacklogMetrics(Collector):
    """Asks the stream when it is scraped. While the stream does not answer, the gauges are absent."""

    def __init__(self, consumers: Sequence[tuple[RedisEventStream, str]]) -> None:
        self._consumers = consumers

    def describe(self) -> list[GaugeMetricFamily]:
        """Nothing, lest registration ask the stream."""
        return []

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Records, age of the oldest in seconds, and records trimmed before they were read, for each shard."""
        records = GaugeMetricFamily("clickstream_backlog_records", "Records before a consumer", labels=_LABELS)
        age = GaugeMetricFamily("clickstream_backlog_age_seconds", "Age of the oldest of them", labels=_LABELS)
        trimmed = GaugeMetricFamily("clickstream_backlog_trimmed_records", "Those trimmed unread", labels=_LABELS)
        for stream, consumer in self._consumers:
            try:
                backlog = stream.backlog(consumer)
            except StreamUnavailable:
                return
            for shard, before in backlog.items():
                labels = [stream.name, consumer, shard]
                records.add_metric(labels, before.records)
                age.add_metric(labels, before.oldest_age_seconds)
                trimmed.add_metric(labels, before.trimmed_unread)
        yield from (records, age, trimmed)
