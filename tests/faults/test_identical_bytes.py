"""The same partitions made again, by two runs at once, after a crash, with one thread and with four: the same bytes."""

import hashlib
import multiprocessing
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from bench._landing import land
from bench._tables import STEPS, materialize
from resources.lake import DirectoryLake

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

EVENTS = 1_000_000
HOUR = datetime(2026, 11, 1, 10, tzinfo=UTC)
ARRIVAL_HOURS = [HOUR, HOUR + timedelta(hours=1)]  # late copies come in the second
TABLES = ("enriched", "failed_events", "event_ledger", "flattened", "customer_prices", "aggregated")


def make_tables(home: Path, threads: int) -> None:
    for step in STEPS:
        materialize(home, step, ARRIVAL_HOURS, threads)


@contextmanager
def making_tables(home: Path, threads: int) -> Iterator[BaseProcess]:
    process = multiprocessing.get_context("spawn").Process(target=make_tables, args=(home, threads))
    process.start()
    try:
        yield process
    finally:
        process.kill()
        process.join()


def tables_made(home: Path, threads: Sequence[int]) -> dict[str, str]:
    """The tables after a run for each of these numbers of threads, all at once."""
    processes = [multiprocessing.get_context("spawn").Process(target=make_tables, args=(home, n)) for n in threads]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * len(threads)
    return hashes(home)


def hashes(home: Path) -> dict[str, str]:
    """Every published file of a table, by the hash of its bytes."""
    files = (file for table in TABLES for file in (home / "lake" / table).rglob("[!.]*") if file.is_file())
    return {str(file.relative_to(home)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def kill_while_writing(table: str, home: Path) -> None:
    """Kill a run as soon as it has begun to write a partition of a table."""
    with making_tables(home, 4) as process:
        while not any((home / "lake" / table).rglob(".*.parquet")):
            assert process.is_alive()
            time.sleep(0.001)


def test_25_the_same_partitions_have_the_same_bytes_however_they_are_made(tmp_path: Path) -> None:
    land(DirectoryLake(tmp_path / "lake"), [HOUR], EVENTS, 600_000_000)
    first = tables_made(tmp_path, [4])
    assert {Path(file).parts[1] for file in first} == set(TABLES)

    assert tables_made(tmp_path, [4]) == first
    assert tables_made(tmp_path, [1]) == first
    assert tables_made(tmp_path, [1, 4]) == first
    for table in ("enriched", "event_ledger", "flattened"):
        kill_while_writing(table, tmp_path)
        assert hashes(tmp_path) == first
    assert tables_made(tmp_path, [4]) == first
