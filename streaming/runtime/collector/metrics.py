"""What the collector counts, in Prometheus' text format."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class Metrics:
    """The counters of one collector process."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.requests = Counter("collector_requests", "Responses by HTTP status", ("status",), registry=self._registry)
        self.accepted = Counter(
            "collector_events_accepted", "Events the stream has acknowledged", registry=self._registry
        )
        self.refused = Counter(
            "collector_events_refused",
            "Events refused, by the type of their first fault",
            ("type",),
            registry=self._registry,
        )
        self.put_seconds = Histogram(
            "collector_stream_put_seconds",
            "Time one group of records took to reach the stream",
            registry=self._registry,
            buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2),
        )
        self.put_failures = Counter(
            "collector_stream_put_failures",
            "Records the stream did not take, by its error code",
            ("code",),
            registry=self._registry,
        )
        self.backlog = Gauge(
            "collector_stream_backlog_records",
            "Records of the stream that delivery has not checkpointed",
            registry=self._registry,
        )

    def text(self) -> bytes:
        """Every metric, as a scrape returns it."""
        return generate_latest(self._registry)


class CountedResponses:
    """Middleware that counts every response by its status."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._requests = metrics.requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on; what is no HTTP request goes uncounted."""

        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._requests.labels(message["status"]).inc()
            await send(message)

        await self._app(scope, receive, counted)
