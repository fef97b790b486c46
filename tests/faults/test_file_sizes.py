"""Hours that lie in very many files, or in a very large one."""

import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from streaming.domain.layout import hour_of, hour_prefix
from streaming.domain.tables import ENRICHED_LANDING
from streaming.edges.lake import gzip_bytes
from streaming.edges.parquet import arrow_schema
from streaming.settings import ROOT
from tests.faults.platform import Platform

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

TINY_FILES = 10_000
# Some 320 MB of JSON in one file, more than the limit: what does not fit goes to disk, here as it would with 2 GB.
LARGE_ROWS = 1_000_000
USERS = 5_000
LIMIT_BYTES = 150_000_000
ROW_GROUP_ROWS = 122_880
# What a run may take more than an idle one. The limit is that of DuckDB's buffers: readers (some 50 KB for each Parquet
# file) and writers take theirs on top.
MOST_MIB_TINY = 650
MOST_MIB_LARGE = 450
SCHEMA = arrow_schema(ENRICHED_LANDING)


def test_28_10_000_tiny_files_and_a_large_one(start_platform: Callable[..., Platform]) -> None:
    platform = start_platform(CLICKSTREAM_MEMORY_LIMIT_BYTES=str(LIMIT_BYTES))
    hour = hour_of(datetime.now(UTC)) - timedelta(hours=3)
    idle = _peak_mib(platform)
    _land(platform, hour, TINY_FILES, rows_a_file=1)
    tiny = _peak_mib(platform)
    _land(platform, hour + timedelta(hours=1), LARGE_ROWS, rows_a_file=LARGE_ROWS)
    large = _peak_mib(platform)
    assert (tiny - idle < MOST_MIB_TINY, large - idle < MOST_MIB_LARGE) == (True, True), (idle, tiny, large)
    summary = platform.expect_invariant()
    assert summary["raw"] == summary["enriched"] == summary["flattened"] == TINY_FILES + LARGE_ROWS


# A process begins with the peak of the one that started it, so one that is small stands between.
MEASURED = """
import resource, subprocess, sys
subprocess.run([sys.executable, "-m", "commands", "materialize"], stdout=subprocess.DEVNULL, check=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


def _peak_mib(platform: Platform) -> float:
    """The most memory that `./run materialize` ever held."""
    command = (sys.executable, "-c", MEASURED)
    measured = subprocess.run(command, env=platform.environment, cwd=ROOT, capture_output=True, check=True)
    return int(measured.stdout) / 1024


def _land(platform: Platform, hour: datetime, count: int, rows_a_file: int) -> None:
    """Land events of an hour in files of so many rows, as delivery would have, but without waiting for the disk."""
    raw, enriched = (platform.lake / hour_prefix(prefix, hour) for prefix in ("raw", "enriched_landing"))
    for folder in (raw, enriched):
        folder.mkdir(parents=True)
    moment = hour + timedelta(minutes=1)
    rows = _rows(moment, count)
    for first in range(0, count, rows_a_file):
        last = first + rows_a_file
        lines = b"".join(_raw_line(moment, number) for number in range(first, last))
        (raw / f"landed-{first}.json.gz").write_bytes(gzip_bytes(lines))
        pq.write_table(
            rows.slice(first, rows_a_file),
            enriched / f"landed-{first}.parquet",
            row_group_size=ROW_GROUP_ROWS,
            store_schema=False,
        )


def _raw_line(moment: datetime, number: int) -> bytes:
    at = f"{moment:%Y-%m-%dT%H:%M:%S}.000000Z"
    event = (
        f'{{"timestamp":"{at}","user_id":"{number % USERS}","pixel_id":"fytil06mrm",'
        f'"click_id":"{_identity(moment, number)}","insertion_timestamp":"{at}",'
        f'"event_name":"Search","user_ip":"169.235.214.44"}}'
    )
    identity = _identity(moment, number)
    return f'{{"record_id":"{identity}","arrival_timestamp":"{at}","client_ip":null,"event":{event}}}\n'.encode()


def _identity(moment: datetime, number: int) -> str:
    return f"{int(moment.timestamp()):016x}{number:016x}"


def _rows(moment: datetime, count: int) -> pa.Table:
    """The same events, enriched."""
    at = moment.replace(tzinfo=None)
    identities = [_identity(moment, number) for number in range(count)]
    same: dict[str, Any] = {
        "arrival_timestamp": at, "timestamp": at, "insertion_timestamp": at, "pixel_id": "fytil06mrm",
        "event_name": "Search", "user_ip": "169.235.214.44", "name": "Semyon Ryan", "country": "US",
        "region": "California", "city": "Riverside", "enrichment_version": "1/test/test",
    }  # fmt: skip
    differ = {
        "record_id": identities,
        "click_id": identities,
        "user_id": [str(number % USERS) for number in range(count)],
    }
    columns = {field.name: differ.get(field.name) or [same.get(field.name)] * count for field in SCHEMA}
    return pa.table(columns, schema=SCHEMA)
