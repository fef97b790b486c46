"""A bounded ring of refused requests on disk, to debug a client by. Never part of the ledger."""

import itertools
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pybase64

MAX_SAMPLES = 200
MAX_SAMPLE_BYTES = 65_536
SAMPLES_PER_SECOND = 10


class RefusedSamples:
    """Keeps the newest refused requests under `folder`, one JSON file each: time, problem, and the body in base64."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder = folder
        self._slots = itertools.cycle(range(MAX_SAMPLES))
        self._writer = ThreadPoolExecutor(1, "refused-samples")
        self._second, self._kept = 0, 0

    def keep(self, problem: dict[str, Any], body: bytes) -> None:
        """Keep one refused request, unless enough were kept in this second."""
        second = int(time.time())
        if second != self._second:
            self._second, self._kept = second, 0
        if self._kept < SAMPLES_PER_SECOND:
            self._kept += 1
            self._writer.submit(self._write, next(self._slots), problem, body)

    def close(self) -> None:
        """Write what is waiting, and stop."""
        self._writer.shutdown()

    def _write(self, slot: int, problem: dict[str, Any], body: bytes) -> None:
        sample = {
            "refused_at": datetime.now(UTC),
            "problem": problem,
            "body_bytes": len(body),
            "body_base64": pybase64.b64encode(body[:MAX_SAMPLE_BYTES]).decode(),
        }
        (self._folder / f"{slot:03}.json").write_bytes(orjson.dumps(sample))
