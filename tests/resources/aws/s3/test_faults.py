"""What S3 and Glue may do to a lake: refuse, hang up, answer in part; and what may happen to those who publish."""

import gzip
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from moto.core import DEFAULT_ACCOUNT_ID
from moto.s3.models import s3_backends

from resources.aws.s3 import bucket as s3_bucket
from resources.aws.s3 import lake as s3_lake
from resources.aws.s3.lake import IN_USE, S3Lake, open_s3_lake
from resources.lake import local_paths, written_partition
from resources.warehouse import DuckDBWarehouse, Source
from streaming.domain.layout import hour_prefix
from streaming.domain.tables import FLATTENED_EVENTS, LATEST_SEARCH_BY_USER, RAW_EVENTS, Table
from streaming.edges import backoff
from streaming.edges.aws import client
from streaming.settings import ROOT
from tests.aws_proxy import Answer, AwsProxy, Fault, Faults, Forward, Request, break_off, cut, lose_answer, refuse
from tests.s3_lakes import BUCKET, STACK, date_object, firehose_name, keys, make_s3_lake

HOUR = datetime(2026, 11, 20, 9, tzinfo=UTC)
MEGA = 1 << 20
LANDED = f"replays/year=2026/month=11/day=20/hour=09/replay-{1:032x}.json.gz"


@pytest.fixture
def proxy(aws: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[AwsProxy]:
    """A proxy before the account, which is where clients that are made from now on look."""
    with AwsProxy(aws) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.address)
        yield proxy


@pytest.fixture
def lake(proxy: AwsProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> S3Lake:
    """A lake whose clients do not pause long, and that sends files in parts from 5 MiB on."""
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0.02)
    monkeypatch.setattr(backoff, "_MAX_PAUSE_SECONDS", 0.02)
    monkeypatch.setattr(s3_bucket, "_PART_BYTES", 5 * MEGA)
    return make_s3_lake(tmp_path / "lake", (FLATTENED_EVENTS, LATEST_SEARCH_BY_USER))


def publish(lake: S3Lake, data: bytes, table: Table = FLATTENED_EVENTS, key: datetime | None = HOUR) -> None:
    with lake.publishing(table, key) as staged:
        staged.path.write_bytes(data)


def content(lake: S3Lake, table: Table = FLATTENED_EVENTS, key: datetime | None = HOUR) -> bytes:
    file = written_partition(lake, table, key)
    return Path(file).read_bytes()


def put_landed(lake: S3Lake) -> None:
    lake.publish(LANDED, gzip.compress(b"new", mtime=0))


def small(lake: S3Lake) -> None:
    publish(lake, b"new")


def big(lake: S3Lake) -> None:
    publish(lake, b"new" * (4 * MEGA))


def table(lake: S3Lake) -> None:
    publish(lake, b"new", LATEST_SEARCH_BY_USER, None)


def read(lake: S3Lake) -> None:
    assert content(lake) == b"old" * MEGA


def bulk(lake: S3Lake) -> None:
    assert lake.snapshot().hours(FLATTENED_EVENTS) == [HOUR]


def listed(lake: S3Lake) -> None:
    files = lake.list_hour("replays", HOUR)
    assert [gzip.decompress(Path(path).read_bytes()) for path in local_paths(files)] == [b"old"]


def s3(method: str, part: str = "") -> Callable[[Request], bool]:
    return lambda request: not request.operation and request.method == method and part in request.path


def glue(operation: str) -> Callable[[Request], bool]:
    return lambda request: request.operation == operation


# What is done, and the request of it that meets a fault.
STEPS: dict[str, tuple[Callable[[S3Lake], None], Callable[[Request], bool]]] = {
    "put": (put_landed, s3("PUT", "replay-")),
    "head": (small, s3("HEAD")),
    "upload": (small, s3("PUT", "flattened")),
    "create": (big, s3("POST", "?uploads")),
    "part": (big, s3("PUT", "partNumber=2")),
    "complete": (big, s3("POST", "uploadId")),
    "describe": (small, glue("GetTable")),
    "create partition": (small, glue("CreatePartition")),
    "update partition": (small, glue("UpdatePartition")),
    "update table": (table, glue("UpdateTable")),
    "find": (read, glue("GetPartition")),
    "find all": (bulk, glue("GetPartitions")),
    "get": (read, s3("GET", "flattened")),
    "get landed": (listed, s3("GET", "/replay-")),
    "list": (listed, s3("GET", "list-type")),
}
FAULTS: dict[str, Fault] = {
    "429": refuse(429, "SlowDown"),
    "503": refuse(503, "SlowDown"),
    "500": refuse(500, "InternalError"),
    "reset": cut,
    "answer lost": lose_answer,
    "answer breaks off": break_off,
}
# A partition that is there is updated, one that is not is made.
MADE = {"create partition"}
WITHOUT_BODY = {"put", "head", "upload", "part"}


@pytest.mark.parametrize(
    ("step", "fault"),
    [(step, fault) for step in STEPS for fault in FAULTS if fault != "answer breaks off" or step not in WITHOUT_BODY],
)
def test_a_fault_that_passes_costs_nothing(lake: S3Lake, proxy: AwsProxy, step: str, fault: str) -> None:
    work, concerns = STEPS[step]
    lake.publish(LANDED, gzip.compress(b"old", mtime=0))
    if step not in MADE:
        publish(lake, b"old" * MEGA)
    struck: list[str] = []

    def noted(request: Request, forward: Forward) -> Answer | None:
        struck.append(request.path)
        return FAULTS[fault](request, forward)

    proxy.fault = Faults(noted, 2, concerns)
    work(lake)
    assert len(struck) == 2
    if work in (small, big):
        assert content(lake) == b"new" * (4 * MEGA if work is big else 1)
    if work is table:
        assert content(lake, LATEST_SEARCH_BY_USER, None) == b"new"
    if work is put_landed:
        assert (lake.read(LANDED), len(keys("replays"))) == (gzip.compress(b"new", mtime=0), 1)


@pytest.mark.parametrize("step", ["upload", "part", "complete", "describe", "update partition"])
def test_a_fault_that_stays_leaves_the_old_partition(lake: S3Lake, proxy: AwsProxy, step: str) -> None:
    work, concerns = STEPS[step]
    publish(lake, b"old")
    proxy.fault = Faults(refuse(500, "InternalError"), 1000, concerns)
    with pytest.raises(Exception, match=r"InternalError|injected"):
        work(lake)
    proxy.fault = Faults(refuse(500, "InternalError"), 0, concerns)

    assert content(lake) == b"old"
    work(lake)
    assert content(lake)[:3] == b"new"


def test_an_object_that_is_replaced_while_it_is_fetched_is_not_mixed(lake: S3Lake, proxy: AwsProxy) -> None:
    lake.publish("pages/page", b"old" * MEGA)

    def replaced(request: Request, forward: Forward) -> Answer:
        answer = break_off(request, forward)
        client("s3").put_object(Bucket=BUCKET, Key="pages/page", Body=b"new" * MEGA)
        return answer

    proxy.fault = Faults(replaced, 1, s3("GET", "page"))
    assert lake.read("pages/page") == b"new" * MEGA


PUBLISHER = """
import os, sys
from datetime import UTC, datetime
from pathlib import Path
from resources.aws.s3 import bucket as s3_bucket
from resources.aws.s3.lake import open_s3_lake
from streaming.domain.tables import FLATTENED_EVENTS
s3_bucket._PART_BYTES = 5 << 20
lake = open_s3_lake(sys.argv[1], sys.argv[2], Path(sys.argv[3]), 1 << 30)
with lake.publishing(FLATTENED_EVENTS, datetime(2026, 11, 20, 9, tzinfo=UTC)) as staged:
    staged.path.write_bytes(sys.argv[4].encode() * (2 << 20))
"""


def publisher(folder: Path, text: str) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-c", PUBLISHER, BUCKET, STACK.database, str(folder), text]
    return subprocess.Popen(command, cwd=ROOT, start_new_session=True, stderr=subprocess.DEVNULL)


class KilledAt:
    """Lets requests pass up to the one where the process that asks is killed: before the service has it, or after."""

    def __init__(self, number: int, *, after: bool) -> None:
        self.process: subprocess.Popen[bytes] | None = None
        self._left = number
        self._after = after
        self._lock = threading.Lock()

    def __call__(self, request: Request, forward: Forward) -> Answer | None:
        with self._lock:
            self._left -= 1
            if self._left == 0 and self._after:
                forward(request)
            if self._left == 0 and self.process:
                os.killpg(self.process.pid, signal.SIGKILL)
            if self._left <= 0:
                return None
        return forward(request)


@pytest.mark.slow
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_publisher_that_is_killed_leaves_the_old_partition_or_the_new(
    lake: S3Lake, proxy: AwsProxy, aws: str, tmp_path: Path, after: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", aws)
    reader = open_s3_lake(BUCKET, STACK.database, tmp_path / "reader", 1 << 30)
    monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.address)
    current, outcomes = b"start" * MEGA, []
    publish(reader, current)
    for number in range(1, 20):
        text = f"{number:04}-"
        killed = KilledAt(number, after=after)
        proxy.fault = killed
        with publisher(tmp_path / "publisher", text) as killed.process:
            status = killed.process.wait(60)
        found, new = content(reader), text.encode() * (2 * MEGA)
        assert found in (current, new)
        outcomes.append(found == new)
        current = found
        if status == 0:
            break
    assert status == 0
    proxy.fault = lambda request, forward: forward(request)
    # Nothing is published until Glue says so; then there is one request left, which sees to it that the file is there.
    assert outcomes == [False] * (len(outcomes) - 3) + [after, True, True]
    assert len(outcomes) > 6  # there are that many steps

    for key in keys():
        date_object(key, datetime.now(UTC) - 2 * IN_USE)
    reader.sweep(time.time())
    lake.sweep(time.time())
    assert client("s3").list_multipart_uploads(Bucket=BUCKET).get("Uploads", []) == []
    assert content(open_s3_lake(BUCKET, STACK.database, tmp_path / "late", 1 << 30)) == current


# Where a publisher is stopped, whether another publishes the same meanwhile, and what is in place in the end.
STOPPED: dict[str, tuple[str, datetime | None, bool, bytes | None]] = {
    "after its upload": ("GetTable", HOUR, False, b"old"),
    "after its upload, and outrun": ("GetTable", HOUR, True, b"other"),
    "at its update": ("UpdatePartition", HOUR, False, b"old"),
    "at its update, and outrun": ("UpdatePartition", HOUR, True, None),
    "at its first update, and outrun": ("CreatePartition", HOUR, True, None),
    "at its update of a table": ("UpdateTable", None, False, b"old"),
}


@pytest.mark.parametrize(("step", "key", "is_outrun", "left"), STOPPED.values(), ids=STOPPED)
def test_a_publisher_that_is_stopped_until_its_file_is_swept_fails_and_leaves_what_was_there(
    lake: S3Lake, proxy: AwsProxy, aws: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    step: str, key: datetime | None, is_outrun: bool, left: bytes | None,
) -> None:  # fmt: skip
    monkeypatch.setattr(s3_lake, "IN_USE", timedelta(0))
    monkeypatch.setenv("AWS_ENDPOINT_URL", aws)
    other = open_s3_lake(BUCKET, STACK.database, tmp_path / "other", 1 << 30)
    table = FLATTENED_EVENTS if key else LATEST_SEARCH_BY_USER
    if step != "CreatePartition":
        publish(lake, b"old", table, key)

    def stopped(request: Request, forward: Forward) -> Answer:
        if is_outrun:
            publish(other, b"other", table, key)
        for stored in keys():
            date_object(stored, datetime.now(UTC) - timedelta(days=2))
        assert other.sweep(time.time()).paths
        return forward(request)

    proxy.fault = Faults(stopped, 1, glue(step))
    with pytest.raises(FileNotFoundError, match="run it again"):
        publish(lake, b"new", table, key)

    assert (content(other, table, key) if other.partition(table, key) else None) == left
    assert bool(other.as_of(table, key)) == (left is not None)
    publish(lake, b"new", table, key)
    assert content(other, table, key) == b"new"


def test_two_publishers_at_once_leave_one_whole_partition_and_readers_see_no_other(
    lake: S3Lake, tmp_path: Path
) -> None:
    versions = [bytes([number]) * 50_000 for number in range(1, 9)]
    lakes = [open_s3_lake(BUCKET, STACK.database, tmp_path / f"{number}", 1 << 30) for number in range(3)]
    publish(lake, versions[0])
    with ThreadPoolExecutor(3) as threads:
        writing = [
            threads.submit(lambda each, some: [publish(each, version) for version in some], lakes[number], some)
            for number, some in enumerate((versions[:4], versions[4:]))
        ]
        seen = [content(lakes[2])]
        while not all(each.done() for each in writing):
            seen.append(content(lakes[2]))
        assert [each.result() for each in writing] == [[None] * 4] * 2

    assert set(seen) <= set(versions)
    assert content(lake) in (versions[3], versions[7])
    assert lake.hours(FLATTENED_EVENTS) == [HOUR]


def test_a_rerun_leaves_no_part_of_the_partition_before_it(lake: S3Lake) -> None:
    big(lake)
    small(lake)
    where = {"DatabaseName": STACK.database, "TableName": FLATTENED_EVENTS.name}
    (entry,) = client("glue").get_partitions(**where)["Partitions"]
    prefix = entry["StorageDescriptor"]["Location"].removeprefix(f"s3://{BUCKET}/")
    assert [client("s3").get_object(Bucket=BUCKET, Key=key)["Body"].read() for key in keys(prefix)] == [b"new"]


@pytest.mark.slow
def test_ten_thousand_tiny_files_are_listed_and_thousands_read(aws: str, tmp_path: Path) -> None:
    lake, begun = make_s3_lake(tmp_path / "lake", ()), HOUR.replace(minute=20)
    line = b'{"record_id":"%032x","arrival_timestamp":"2026-11-20T09:20:00.000000Z","client_ip":null,"event":{"a":1}}\n'
    for number in range(10_000):
        key = f"{hour_prefix('raw', HOUR)}/{firehose_name(begun, number, '.gz')}"
        stored = s3_backends[DEFAULT_ACCOUNT_ID]["aws"].put_object(BUCKET, key, gzip.compress(line % number))
        stored.last_modified = begun.replace(tzinfo=None)

    started = time.monotonic()
    files = lake.list_hour("raw", HOUR)
    assert (len(files), time.monotonic() - started < 60) == (10_000, True)

    some = files[:2500]  # an emulator in this process takes its time
    found = DuckDBWarehouse(300_000_000, tmp_path / "duckdb").select(
        "SELECT COUNT(DISTINCT record_id) AS records FROM raw", [], {"raw": Source(RAW_EVENTS, some)}
    )
    assert found.to_pylist() == [{"records": len(some)}]


READER = """
import os, resource, sys
from datetime import UTC, datetime
from pathlib import Path
from resources.aws.s3.lake import open_s3_lake
from streaming.domain.tables import FLATTENED_EVENTS
lake = open_s3_lake(sys.argv[1], sys.argv[2], Path(sys.argv[3]), 1 << 30)
hour = datetime(2026, 11, 20, 9, tzinfo=UTC)
lake.partition(FLATTENED_EVENTS, hour)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
file = lake.partition(FLATTENED_EVENTS, hour)
size = os.stat(file).st_size
with lake.publishing(FLATTENED_EVENTS, hour) as staged:
    with open(file, "rb") as old, staged.path.open("wb") as new:
        while piece := old.read(1 << 20):
            new.write(piece)
        new.write(b"more")
print(size, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.mark.slow
def test_a_big_file_is_fetched_and_sent_piece_by_piece(aws: str, tmp_path: Path) -> None:
    lake, size = make_s3_lake(tmp_path / "lake", (FLATTENED_EVENTS,)), 400 * MEGA
    with lake.publishing(FLATTENED_EVENTS, HOUR) as staged, staged.path.open("wb") as file:
        for _ in range(size // MEGA):
            file.write(os.urandom(MEGA))
    command = [sys.executable, "-c", READER, BUCKET, STACK.database, str(tmp_path / "reader")]
    ran = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    read, megabytes = map(int, ran.stdout.split())
    assert read == size
    assert megabytes < 250
