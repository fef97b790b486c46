"""A collector as a process of its own, in front of a real Redis."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from streaming.domain.envelope import Envelope, open_record
from streaming.edges.event_stream import EVENTS, StreamRecord
from streaming.edges.redis_stream import RedisEventStream
from streaming.runtime.servers import LOOPBACK, free_port
from streaming.settings import ROOT

SHARDS = 2


class CollectorProcess:
    """Started on construction, ready when it returns. `environment` adds to what it needs."""

    def __init__(self, redis_url: str, home: Path, **environment: str) -> None:
        self.port = free_port()
        self.url = f"http://{LOOPBACK}:{self.port}"
        self.home = home
        self.stream = RedisEventStream(redis_url, EVENTS, SHARDS, 10_000)
        variables = {
            "REDIS_URL": redis_url,
            "COLLECTOR_PORT": str(self.port),
            "CLICKSTREAM_HOME": str(home),
            "CLICKSTREAM_SHARDS": str(SHARDS),
            **environment,
        }
        self.log = home / "collector.log"
        with self.log.open("wb") as log:
            command = [sys.executable, "-m", "streaming.runtime.collector"]
            self.process = subprocess.Popen(command, env=os.environ | variables, cwd=ROOT, stderr=log)
        self.client = httpx.Client(base_url=self.url, trust_env=False)
        try:
            self._wait_until_ready()
        except BaseException:
            self.close()
            raise

    def post(self, content: bytes | str, params: dict[str, str] | None = None, **headers: str) -> httpx.Response:
        """POST /events; header names are written with underscores."""
        named = {"content-type": "application/json"} | {name.replace("_", "-"): text for name, text in headers.items()}
        return self.client.post("/events", content=content, params=params, headers=named)

    def errors(self, content: bytes | str, **headers: str) -> list[tuple[str, str]]:
        """Pointer and type of each error of a request that is refused with 400."""
        response = self.post(content, **headers)
        assert response.status_code == 400, response.text
        return [(error["pointer"], error["type"]) for error in response.json()["errors"]]

    def envelopes(self) -> list[Envelope]:
        """Everything on the stream."""
        return [
            open_record(record.data, record.arrival)
            for shard in self.stream.list_shards()
            for record in self._records(shard)
        ]

    def metrics(self) -> dict[str, float]:
        """Each sample by its name with labels."""
        lines = self.client.get("/metrics").text.splitlines()
        return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[0] != "#")}

    def terminate(self) -> int:
        """SIGTERM; the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)

    def close(self) -> None:
        """End it, one way or the other."""
        self.client.close()
        self.stream.close()
        self.process.kill()
        self.process.wait()

    def __enter__(self) -> "CollectorProcess":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def _records(self, shard: str) -> Iterator[StreamRecord]:
        after: str | None = None
        while records := self.stream.get_records(shard, after, 1_000, 0).records:
            yield from records
            after = records[-1].sequence_number

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + 60
        while True:
            try:
                if self.client.get("/health").status_code == 200:
                    return
            except httpx.TransportError:
                pass
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, "the collector did not get ready"
            time.sleep(0.05)
