"""Group commit: the records of concurrent requests go to the stream in one call, and each request waits for its own."""

import asyncio
import logging
import queue
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from streaming.edges.backoff import pause_seconds
from streaming.edges.event_stream import MAX_PUT_RECORDS, SERVICE_UNAVAILABLE, EventStream
from streaming.runtime.collector.metrics import Metrics
from streaming.runtime.collector.problems import retry_later

MAX_GROUP_BYTES = 4_000_000
MAX_WAITING_BYTES = 32_000_000
# Half a millisecond more for each request is a quarter less CPU for all: fewer, larger groups.
GATHER_SECONDS = 0.0005
PUT_SECONDS = 1.5
PUT_ATTEMPTS = 3
FIRST_PAUSE_SECONDS = 0.05

Record = tuple[str, bytes]

_log = logging.getLogger(__name__)


class _Put(NamedTuple):
    records: Sequence[Record]
    size: int
    outcome: asyncio.Future[str | None]


class GroupCommit:
    """Puts records into the stream from one thread of its own. Made and used on the event loop's thread."""

    def __init__(self, stream: EventStream, metrics: Metrics) -> None:
        self._stream = stream
        self._metrics = metrics
        self._loop = asyncio.get_running_loop()
        self._queue: queue.SimpleQueue[_Put | None] = queue.SimpleQueue()
        self._waiting_bytes = 0
        self._refused_last = False
        self._thread = threading.Thread(target=self._run, name="group-commit")
        self._thread.start()

    async def put(self, records: Sequence[Record]) -> None:
        """Return once the stream has every one of the records, which are (partition key, data).

        Raises:
            Refusal: the stream did not take some of them, or not in time. Those it took stay; the copies that come
                when the client sends again are told by their click_id.
        """
        if not records:
            return
        size = sum(len(data) for _, data in records)
        if self._waiting_bytes + size > MAX_WAITING_BYTES:
            raise retry_later("unavailable", "too many events wait for the stream")
        outcome: asyncio.Future[str | None] = self._loop.create_future()
        self._waiting_bytes += size
        self._queue.put(_Put(records, size, outcome))
        try:
            async with asyncio.timeout(PUT_SECONDS):
                error_code = await outcome
        except TimeoutError:
            raise retry_later("unavailable", f"the stream did not answer in {PUT_SECONDS:g} seconds") from None
        finally:
            self._waiting_bytes -= size
        if error_code is not None:
            raise retry_later("unavailable", f"the stream answered {error_code}")

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
                _log.exception("the stream's client failed")
                self._loop.call_soon_threadsafe(_fail, wanted, error)
            else:
                self._loop.call_soon_threadsafe(_settle, wanted, errors)

    def _groups(self) -> Iterator[list[_Put]]:
        """What waits, in groups that one put takes, until `close`."""
        held: _Put | None = None
        while (first := held or self._queue.get()) is not None:
            time.sleep(GATHER_SECONDS)
            held, group, records, size = None, [first], len(first.records), first.size
            while held is None and not self._queue.empty():
                put = self._queue.get()
                if put is None:
                    self._queue.put(None)
                    break
                records, size = records + len(put.records), size + put.size
                if records > MAX_PUT_RECORDS or size > MAX_GROUP_BYTES:
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
            if attempt:
                time.sleep(pause_seconds(attempt - 1, FIRST_PAUSE_SECONDS, PUT_SECONDS))
            results = self._stream.put_records([records[index] for index in pending])
            for index, result in zip(pending, results, strict=True):
                errors[index] = result.error_code
            pending = [index for index in pending if errors[index] == SERVICE_UNAVAILABLE]
            if not pending or time.monotonic() - started > PUT_SECONDS:
                break
        self._note(errors, time.monotonic() - started)
        return errors

    def _note(self, errors: Sequence[str | None], seconds: float) -> None:
        self._metrics.put_seconds.observe(seconds)
        codes = Counter(filter(None, errors))
        for code, count in codes.items():
            self._metrics.put_failures.labels(code).inc(count)
        if bool(codes) != self._refused_last:
            self._refused_last = bool(codes)
            if codes:
                _log.warning("the stream takes no records: %s", ", ".join(codes))
            else:
                _log.info("the stream takes records again")


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
