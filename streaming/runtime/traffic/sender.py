"""Sends a shop's traffic to the collector, and counts what the collector acknowledged."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import NamedTuple

import httpx
import orjson

from streaming.edges.backoff import pause_seconds
from streaming.edges.event_stream import MAX_PUT_RECORDS, EventStream
from streaming.runtime.traffic.mixture import Outgoing, mixture
from streaming.runtime.traffic.options import SendOptions, SendResult

REQUEST_SECONDS = 10.0
GIVE_UP_SECONDS = 120.0
FIRST_PAUSE_SECONDS = 0.05
MAX_PAUSE_SECONDS = 5.0
REPORT_SECONDS = 0.2

_TRY_AGAIN = (429, 500, 502, 503, 504)


class CollectorUnreachable(Exception):  # noqa: N818 - a state of affairs, named as the stream's
    """Nothing answers at the collector's address."""


class Answer(NamedTuple):
    """What one attempt at a request came to; `status` None and no body where nothing answered."""

    status: int | None
    body: bytes
    seconds: float


class _Request(NamedTuple):
    body: bytes
    events: int


def send(
    options: SendOptions,
    progress: Callable[[SendResult], None] = lambda _: None,
    stop: threading.Event | None = None,
    stream: EventStream | None = None,
    witness: Callable[[Answer], None] = lambda _: None,
) -> SendResult:
    """Send the traffic and wait for every acknowledgement.

    Args:
        options: what to send.
        progress: called a few times a second with what became of the events so far.
        stop: when set, no more is sent, and what is under way is finished.
        stream: where `bad_stream` events go, past the collector.
        witness: called with the answer to every attempt, before it is tried again.

    Raises:
        CollectorUnreachable: there was no collector to begin with.
    """
    return asyncio.run(_Sender(options, progress, stop or threading.Event(), stream, witness).run())


class _Sender:
    def __init__(
        self,
        options: SendOptions,
        progress: Callable[[SendResult], None],
        stop: threading.Event,
        stream: EventStream | None,
        witness: Callable[[Answer], None],
    ) -> None:
        self._options = options
        self._progress = progress
        self._stop = stop
        self._stream = stream
        self._witness = witness
        self._result = SendResult()
        self._started = time.monotonic()

    async def run(self) -> SendResult:
        concurrency = self._options.concurrency
        async with self._client() as client:
            await self._reach(client)
            requests: asyncio.Queue[_Request | None] = asyncio.Queue(2 * concurrency)
            async with asyncio.TaskGroup() as workers:
                for _ in range(concurrency):
                    workers.create_task(self._work(client, requests))
                reporter = workers.create_task(self._report())
                async for request in self._requests():
                    await requests.put(request)
                for _ in range(concurrency):
                    await requests.put(None)
                await requests.join()
                reporter.cancel()
        self._show()
        return self._result

    def _client(self) -> httpx.AsyncClient:
        options = self._options
        headers = {"content-type": "application/json"} | ({"x-api-key": options.api_key} if options.api_key else {})
        limits = httpx.Limits(max_connections=options.concurrency, max_keepalive_connections=options.concurrency)
        return httpx.AsyncClient(
            base_url=options.url, headers=headers, limits=limits, timeout=REQUEST_SECONDS, trust_env=False
        )

    async def _reach(self, client: httpx.AsyncClient) -> None:
        try:
            await client.get("/health")
        except httpx.TransportError as error:
            raise CollectorUnreachable(f"no collector answers at {self._options.url}: {error}") from None

    async def _requests(self) -> AsyncIterator[_Request]:
        """Requests, no faster than the rate; bad events for the stream are put there as they come."""
        rate, due = self._options.rate, time.monotonic()
        for chunk in self._chunks():
            if isinstance(chunk, _Request):
                self._result.sent += chunk.events
                yield chunk
                due += chunk.events / rate if rate else 0.0
            elif self._stream is not None:
                await self._put_past_collector(self._stream, chunk)
            while rate and not self._stop.is_set() and (early := due - time.monotonic()) > 0:
                await asyncio.sleep(min(early, REPORT_SECONDS))
            if self._stop.is_set():
                return

    async def _put_past_collector(self, stream: EventStream, records: list[tuple[str, bytes]]) -> None:
        while records and not self._stop.is_set():
            results = await asyncio.to_thread(stream.put_records, records)
            records = [record for record, result in zip(records, results, strict=True) if result.error_code]
            if records:
                await asyncio.sleep(FIRST_PAUSE_SECONDS)

    def _chunks(self) -> Iterator[_Request | list[tuple[str, bytes]]]:
        """Good events in requests of a batch, each bad one in a request of its own, those for the stream in lists."""
        batch, rate = self._options.batch, self._options.rate
        if rate:
            batch = min(batch, max(1, round(rate * REPORT_SECONDS)))
        most_past = 1 if rate else MAX_PUT_RECORDS  # a slow flow would take the best part of an hour to fill a put
        good: list[bytes] = []
        past: list[tuple[str, bytes]] = []
        for outgoing in mixture(self._options):
            self._count(outgoing)
            if outgoing.kind == "bad":
                yield _Request(outgoing.data, 1)
            elif outgoing.kind == "bad_stream":
                past.append((outgoing.user_id, outgoing.data))
            else:
                good.append(outgoing.data)
            if len(good) == batch:
                yield _request(good)
                good = []
            if len(past) == most_past:
                yield past
                past = []
        if past:
            yield past
        if good:
            yield _request(good)

    def _count(self, outgoing: Outgoing) -> None:
        match outgoing.kind:
            case "bad":
                self._result.bad += 1
            case "bad_stream":
                self._result.bad_stream[outgoing.type] += 1
            case "duplicate":
                self._result.duplicates += 1
            case "late":
                self._result.late += 1

    async def _work(self, client: httpx.AsyncClient, requests: asyncio.Queue[_Request | None]) -> None:
        while (request := await requests.get()) is not None:
            response = await self._post(client, request)
            if response is None:
                self._result.unacknowledged += request.events
            elif response.status_code == 200:
                self._result.accepted += orjson.loads(response.content)["accepted"]
            else:
                self._result.refused[_reason(response)] += request.events
            requests.task_done()
        requests.task_done()

    async def _post(self, client: httpx.AsyncClient, request: _Request) -> httpx.Response | None:
        """The final answer; None when there was none within GIVE_UP_SECONDS, or before the sender was stopped."""
        give_up = time.monotonic() + GIVE_UP_SECONDS
        attempt = 0
        while True:
            response = await self._attempt(client, request)
            if response is not None and response.status_code not in _TRY_AGAIN:
                return response
            if self._stop.is_set() or time.monotonic() > give_up:
                return None
            attempt += 1
            self._result.retries += 1
            wanted = 0.0 if response is None else float(response.headers.get("retry-after", 0))
            pause = pause_seconds(attempt - 1, FIRST_PAUSE_SECONDS, MAX_PAUSE_SECONDS)
            await asyncio.sleep(max(min(wanted, MAX_PAUSE_SECONDS), pause))

    async def _attempt(self, client: httpx.AsyncClient, request: _Request) -> httpx.Response | None:
        started = time.monotonic()
        try:
            response = await client.post("/events", content=request.body)
        except httpx.TransportError:
            response = None
        status, body = (response.status_code, response.content) if response is not None else (None, b"")
        self._witness(Answer(status, body, time.monotonic() - started))
        return response

    async def _report(self) -> None:
        while True:
            self._show()
            await asyncio.sleep(REPORT_SECONDS)

    def _show(self) -> None:
        self._result.seconds = time.monotonic() - self._started
        self._progress(self._result)


def _request(events: list[bytes]) -> _Request:
    return _Request(events[0] if len(events) == 1 else b"[" + b",".join(events) + b"]", len(events))


def _reason(response: httpx.Response) -> str:
    """Type of the first fault, or else of the problem."""
    if response.headers.get("content-type") != "application/problem+json":
        return f"http_{response.status_code}"
    problem = orjson.loads(response.content)
    if errors := problem.get("errors"):
        return str(errors[0]["type"])
    return str(problem["type"]).rpartition(":")[2]
