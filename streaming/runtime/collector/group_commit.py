"""Group commit: the records of concurrent requests go to the stream in one call, and each request waits for its own."""

import asyncio
import logging
import queue
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from typing import NamedTuple

from streaming.edges.event_stream import MAX_PUT_RECORDS, SERVICE_UNAVAILABLE, EventStream
from streaming.runtime.backoff import pause_seconds
from streaming.runtime.collector.metrics import Metrics
from streaming.runtime.collector.problems import retry_later

MAX_WAITING_RECORDS = 20_000
PUT_SECONDS = 1.5
PUT_ATTEMPTS = 3
FIRST_PAUSE_SECONDS = 0.05

Record = tuple[str, bytes]

logger = logging.getLogger(__name__)


class _Put(NamedTuple):
    records: Sequence[Record]
    outcome: asyncio.Future[str | None]


class GroupCommit:
    """Puts records into the stream from one thread of its own. Made and used on the event loop's thread."""

    def __init__(self, stream: EventStream, metrics: Metrics) -> None:
        self._stream = stream
        self._metrics = metrics
        self._loop = asyncio.get_running_loop()
        self._queue: queue.SimpleQueue[_Put | None] = queue.SimpleQueue()
        self._waiting_records = 0
        self._thread = threading.Thread(target=self._run, name="group-commit")
        self._thread.start()

    async def put(self, records: Sequence[Record]) -> None:
        """Return once the stream has every one of the records, which are (partition key, data).

        Raises:
            Refusal: the stream did not take some of them, or not in time. Those it took stay; the copies that come
                when the client sends again are told by their click_id.
        """
        if self._waiting_records + len(records) > MAX_WAITING_RECORDS:
            raise retry_later("stream-unavailable", "too many events wait for the stream")
        outcome: asyncio.Future[str | None] = self._loop.create_future()
        self._waiting_records += len(records)
        self._queue.put(_Put(records, outcome))
        try:
            async with asyncio.timeout(PUT_SECONDS):
                error_code = await outcome
        except TimeoutError:
            raise retry_later("stream-unavailable", f"the stream did not answer in {PUT_SECONDS:g} seconds") from None
        if error_code is not None:
            raise retry_later("stream-unavailable", f"the stream answered {error_code}")

    def close(self) -> None:
        """Put what is waiting, and stop."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        for group in self._groups():
            wanted = [put for put in group if not put.outcome.done()]
            try:
                errors = self._commit([record for put in wanted for record in put.records])
            except Exception as error:
                logger.exception("the stream's client failed")
                settle = partial(_fail, wanted, error)
            else:
                settle = partial(_settle, wanted, errors)
            self._loop.call_soon_threadsafe(settle)
            self._loop.call_soon_threadsafe(self._release, sum(len(put.records) for put in group))

    def _groups(self) -> Iterator[list[_Put]]:
        """What waits, in groups of at most MAX_PUT_RECORDS records, until `close`."""
        held: _Put | None = None
        while (first := held or self._queue.get()) is not None:
            held, group, size = None, [first], len(first.records)
            while held is None and not self._queue.empty():
                put = self._queue.get()
                if put is None:
                    self._queue.put(None)
                    break
                size += len(put.records)
                if size > MAX_PUT_RECORDS:
                    held = put
                else:
                    group.append(put)
            yield group

    def _commit(self, records: Sequence[Record]) -> list[str | None]:
        """Put the records, those that failed again up to PUT_ATTEMPTS; the error code of each, None where it is in."""
        errors: list[str | None] = [SERVICE_UNAVAILABLE] * len(records)
        started = time.monotonic()
        pending = list(range(len(records)))
        for attempt in range(PUT_ATTEMPTS):
            results = self._stream.put_records([records[index] for index in pending])
            for index, result in zip(pending, results, strict=True):
                errors[index] = result.error_code
            pending = [index for index in pending if errors[index] == SERVICE_UNAVAILABLE]
            if not pending or time.monotonic() - started > PUT_SECONDS:
                break
            time.sleep(pause_seconds(attempt, FIRST_PAUSE_SECONDS, PUT_SECONDS))
        self._metrics.put_seconds.observe(time.monotonic() - started)
        for code, count in Counter(filter(None, errors)).items():
            self._metrics.put_failures.labels(code).inc(count)
        return errors

    def _release(self, records: int) -> None:
        self._waiting_records -= records


def _settle(group: Sequence[_Put], errors: Sequence[str | None]) -> None:
    """Tell each request of a group its first error, None where the stream has all its records."""
    position = 0
    for put in group:
        own = errors[position : position + len(put.records)]
        position += len(put.records)
        if not put.outcome.done():
            put.outcome.set_result(next(filter(None, own), None))


def _fail(group: Sequence[_Put], error: Exception) -> None:
    for put in group:
        if not put.outcome.done():
            put.outcome.set_exception(error)
