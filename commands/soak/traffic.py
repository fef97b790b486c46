"""The traffic of a soak, and the account of what was acknowledged: a file of record_ids, one a line."""

import threading
from array import array
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import orjson

from streaming.domain.envelope import open_record
from streaming.edges.event_stream import EVENTS, PutResult
from streaming.edges.redis_stream import RedisEventStream
from streaming.runtime.traffic import Answer, SendOptions, SendResult, send
from streaming.settings import Settings


class Account:
    """The identities that were acknowledged, and how the collector answered; safe for many threads."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.answers: Counter[str] = Counter()
        self.acknowledged = 0
        self.accepted_seconds = array("d")
        self.refused_seconds = array("d")
        self._lines = file.open("w")
        self._lock = threading.Lock()

    def hear(self, answer: Answer) -> None:
        """Take down the answer to an attempt at a request."""
        self.answers[str(answer.status or "none")] += 1
        if answer.status == 200:
            self.accepted_seconds.append(answer.seconds)
            self.acknowledge(orjson.loads(answer.body)["record_ids"])
        elif answer.status in (429, 503):
            self.refused_seconds.append(answer.seconds)

    def acknowledge(self, identities: Sequence[str]) -> None:
        """Take down identities that must be in the tables from now on."""
        with self._lock:
            self.acknowledged += len(identities)
            self._lines.writelines(f"{identity}\n" for identity in identities)

    def close(self) -> None:
        """Write what is not written yet."""
        self._lines.close()


class WitnessedStream(RedisEventStream):
    """The event stream; what it takes is taken down."""

    def __init__(self, settings: Settings, account: Account) -> None:
        super().__init__(settings.redis_url, EVENTS, settings.shards, settings.stream_backlog)
        self._account = account

    def put_records(self, records: Sequence[tuple[str, bytes]]) -> list[PutResult]:
        results = super().put_records(records)
        now = datetime.now(UTC)
        self._account.acknowledge(
            [
                open_record(data, now).record_id
                for (_, data), result in zip(records, results, strict=True)
                if result.error_code is None
            ]
        )
        return results


class Traffic:
    """Traffic on a thread of its own, until `end`. `result` is what became of it so far."""

    def __init__(self, options: SendOptions, stream: WitnessedStream, account: Account) -> None:
        self.result = SendResult()
        self._stop = threading.Event()
        thread = ThreadPoolExecutor(1, "traffic")
        self._sending = thread.submit(send, options, self._show, self._stop, stream, account.hear)
        thread.shutdown(wait=False)

    def has_failed(self) -> bool:
        """Whether it ended though nobody asked it to; `end` raises why."""
        return self._sending.done()

    def end(self) -> SendResult:
        """Send no more and wait for what is under way; what became of it all."""
        self._stop.set()
        return self._sending.result()

    def _show(self, result: SendResult) -> None:
        self.result = result
