"""The collector's HTTP application: its routes, and the one way of an event from a request into the stream."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, NamedTuple

import orjson
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from streaming.domain.envelope import new_record_ids, stamp
from streaming.domain.timestamps import format_timestamp
from streaming.edges.event_stream import StreamUnavailable
from streaming.edges.ingestion_api import load_contract
from streaming.edges.shard_leases import LeasedStream
from streaming.runtime.collector.admission import GoodEvent, admit
from streaming.runtime.collector.api_keys import ApiKeys
from streaming.runtime.collector.client_address import ClientAddress
from streaming.runtime.collector.docs_page import docs_routes
from streaming.runtime.collector.group_commit import GroupCommit
from streaming.runtime.collector.metrics import CountedResponses, Metrics
from streaming.runtime.collector.problems import Refusal, RefusedEvent, invalid_events
from streaming.runtime.collector.quotas import AddressQuotas
from streaming.runtime.collector.refused_samples import RefusedSamples
from streaming.runtime.collector.request_body import BodyReader, holds_array, split_events
from streaming.settings import Settings

PROBE_SECONDS = 1.0

# Beacons carry the page's credentials, so browsers want the page's own origin back; cookies mean nothing here.
_BEACONS = Middleware(
    CORSMiddleware,
    allow_origin_regex=".*",
    allow_methods=["POST"],
    allow_headers=["content-type", "content-encoding", "x-api-key"],
    allow_credentials=True,
    max_age=86_400,
)


class StampedRecord(NamedTuple):
    """One event in its envelope, as it goes on the stream."""

    record_id: str
    partition_key: str
    data: bytes


class Collector:
    """What the endpoints share for the life of the process."""

    def __init__(self, settings: Settings, stream: LeasedStream) -> None:
        self._settings = settings
        self._stream = stream
        self._contract = load_contract()
        self._keys = ApiKeys(settings.api_keys_file)
        self._bodies = BodyReader()
        self._addresses = ClientAddress(settings.trusted_proxies)
        self._quotas = AddressQuotas(settings.requests_per_second)
        self._samples = RefusedSamples(settings.home / "refused")
        self._prober = ThreadPoolExecutor(1, "stream-probe")
        self._probe: asyncio.Future[int | None] | None = None
        self._metrics = Metrics()

    def application(self) -> Starlette:
        """The ASGI application."""
        return Starlette(
            routes=[
                Route("/events", self.post_events, methods=["POST", "OPTIONS"], middleware=[_BEACONS]),
                Route("/health", self.get_health),
                Route("/metrics", self.get_metrics),
                *docs_routes(),
            ],
            middleware=[Middleware(CountedResponses, metrics=self._metrics)],
            exception_handlers={Refusal: self._refuse},
            lifespan=self._lifespan,
        )

    async def post_events(self, request: Request) -> Response:
        """Accept the events of a request: all of them or none, unless `?partial=true`.

        Raises:
            Refusal: nothing of the request was accepted.
        """
        if request.method == "OPTIONS":
            return Response(status_code=204, headers={"allow": "POST, OPTIONS"})
        assert request.client is not None
        address = self._addresses.of(request.client.host, request.headers.getlist("x-forwarded-for"))
        self._quotas.admit(address)
        sender = self._keys.sender(request)
        partial = _wants_partial(request)
        request.state.body = body = await self._bodies.read(request)
        texts = split_events(body)
        sender.admit(len(texts))
        arrival = datetime.now(UTC)
        admission = admit(self._contract, texts, arrival, self._settings.start, sender.pixel_id, holds_array(body))
        if admission.refused and not partial:
            raise invalid_events(admission.refused)
        records = self._stamped(admission.accepted, arrival, address, sender.trust_payload_ip)
        await self._commit.put([(record.partition_key, record.data) for record in records])
        self._metrics.accepted.inc(len(records))
        answer: dict[str, Any] = {"accepted": len(records), "record_ids": [record.record_id for record in records]}
        if partial:
            answer["refused"] = [{"index": e.place or 0, "errors": e.errors()} for e in admission.refused]
            if admission.refused:
                self._note_refused(request, admission.refused, {"refused": answer["refused"]})
        return Response(orjson.dumps(answer), media_type="application/json")

    async def get_health(self, _request: Request) -> Response:
        """200 if the stream answers, else 503."""
        try:
            health, status = {"status": "ok", "stream_backlog": await self._backlog()}, 200
        except StreamUnavailable:
            health, status = {"status": "stream unavailable", "stream_backlog": None}, 503
        return Response(orjson.dumps(health), status, media_type="application/json")

    async def get_metrics(self, _request: Request) -> Response:
        """Prometheus' text format."""
        try:
            backlog = await self._backlog()
        except StreamUnavailable:
            backlog = None
        self._metrics.backlog.set(float("nan") if backlog is None else backlog)
        return Response(self._metrics.text(), media_type="text/plain; version=0.0.4")

    @asynccontextmanager
    async def _lifespan(self, _app: Starlette) -> AsyncIterator[None]:
        self._commit = GroupCommit(self._stream, self._metrics)
        yield
        self._commit.close()
        self._samples.close()
        self._prober.shutdown(wait=False, cancel_futures=True)

    def _stamped(
        self, events: Sequence[GoodEvent], arrival: datetime, address: str, trusts_payload: bool
    ) -> list[StampedRecord]:
        """The records of the events in their envelopes. Where the payload's address is trusted and there, the
        envelope has none."""
        trusted = self._settings.trust_payload_ip or trusts_payload
        at = format_timestamp(arrival)
        return [
            StampedRecord(
                record_id, event.user_id, stamp(text, record_id, at, None if trusted and event.user_ip else address)
            )
            for record_id, (text, event) in zip(new_record_ids(len(events)), events, strict=True)
        ]

    async def _backlog(self) -> int | None:
        """Records of the stream that delivery has not checkpointed; None where the stream does not count them.

        Raises:
            StreamUnavailable: the stream does not answer in time.
        """
        if self._probe is None or self._probe.done():
            self._probe = asyncio.get_running_loop().run_in_executor(self._prober, self._stream.undelivered)
        try:
            async with asyncio.timeout(PROBE_SECONDS):
                return await asyncio.shield(self._probe)
        except TimeoutError as error:
            raise StreamUnavailable(f"no answer in {PROBE_SECONDS:g} seconds") from error

    async def _refuse(self, request: Request, refusal: Exception) -> Response:
        assert isinstance(refusal, Refusal)
        self._note_refused(request, refusal.refused, refusal.problem())
        return refusal.response()

    def _note_refused(self, request: Request, refused: Sequence[RefusedEvent], answer: dict[str, Any]) -> None:
        for event in refused:
            self._metrics.refused.labels(event.faults[0].type).inc()
        self._samples.keep(answer, getattr(request.state, "body", b""))


def _wants_partial(request: Request) -> bool:
    wanted = request.query_params.get("partial", "false")
    if wanted not in ("true", "false"):
        raise Refusal("malformed-request", "the query parameter partial must be true or false")
    return wanted == "true"
