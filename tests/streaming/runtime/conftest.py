"""Records of a shard, and reading back what delivery wrote."""

import gzip
import itertools
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson
import pytest

from streaming.edges.event_stream import StreamRecord
from streaming.edges.lake import LocalLake

ARRIVAL = datetime(2026, 11, 23, 4, 5, 6, tzinfo=UTC)
Records = Callable[..., list[StreamRecord]]


@pytest.fixture
def lake(tmp_path: Path) -> LocalLake:
    return LocalLake(tmp_path / "lake")


@pytest.fixture
def records() -> Records:
    """Records of a shard, one of each data given, a millisecond apart."""
    ordinals = itertools.count(1)

    def make(*data: bytes, arrival: datetime = ARRIVAL) -> list[StreamRecord]:
        moments = (arrival + timedelta(milliseconds=index) for index in range(len(data)))
        return [
            StreamRecord(f"{int(moment.timestamp() * 1000):013d}-{next(ordinals):012d}", moment, "user", bytes_)
            for bytes_, moment in zip(data, moments, strict=True)
        ]

    return make


def read_lines(lake: LocalLake, prefix: str) -> list[dict]:
    """The JSON lines under a prefix of the lake, in the order of its files."""
    files = sorted(lake.path(prefix).rglob("*.json.gz"))
    return [orjson.loads(line) for path in files for line in gzip.decompress(path.read_bytes()).splitlines()]
