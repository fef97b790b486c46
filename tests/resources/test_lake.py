"""What every lake does, wherever it lies: one contract, held by a directory and by S3."""

import gzip
import os
import subprocess
import sys
import time
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from resources.lake import DirectoryLake, Lake, local_paths, partition_file, sweep, written_partition
from streaming.domain.layout import hour_prefix
from streaming.domain.tables import (
    CUSTOMER_PRICES,
    ENRICHED_EVENTS,
    FLATTENED_EVENTS,
    LATEST_SEARCH_BY_USER,
    Table,
)
from streaming.settings import ROOT
from tests.s3_lakes import make_s3_lake

HOUR = datetime(2026, 11, 20, 9, tzinfo=UTC)
ONE_HOUR = timedelta(hours=1)
DAY = date(2026, 11, 20)
KEYS = pytest.mark.parametrize(
    ("table", "key"), [(FLATTENED_EVENTS, HOUR), (CUSTOMER_PRICES, DAY), (LATEST_SEARCH_BY_USER, None)]
)


@pytest.fixture(params=["directory", "s3"])
def any_lake(request: pytest.FixtureRequest, tmp_path: Path) -> Lake:
    if request.param == "directory":
        return DirectoryLake(tmp_path / "lake")
    request.getfixturevalue("aws")
    return make_s3_lake(tmp_path / "lake")


def content(lake: Lake, table: Table, key: datetime | date | None) -> bytes:
    file = written_partition(lake, table, key)
    return Path(file).read_bytes()


@KEYS
def test_what_was_never_published_is_not_there(any_lake: Lake, table: Table, key: datetime | None) -> None:
    assert any_lake.partition(table, key) is None
    assert (any_lake.as_of(table, key), any_lake.written_at(table, key)) == (0, 0)
    assert (any_lake.hours(table), any_lake.days(table)) == ([], [])
    with pytest.raises(LookupError, match=table.name):
        written_partition(any_lake, table, key)


@KEYS
def test_a_reader_sees_the_old_partition_until_the_new_one_is_whole(
    any_lake: Lake, table: Table, key: datetime | None
) -> None:
    before = time.time_ns()
    with any_lake.publishing(table, key, as_of=17) as staged:
        staged.path.write_bytes(b"old")
    first = any_lake.written_at(table, key)
    assert before - 10_000_000 <= first <= time.time_ns()  # a file system's clock ticks every few milliseconds

    with any_lake.publishing(table, key, as_of=18) as staged:
        staged.path.write_bytes(b"new")
        assert content(any_lake, table, key) == b"old"
        assert any_lake.as_of(table, key) == 17
    assert content(any_lake, table, key) == b"new"
    assert any_lake.as_of(table, key) == 18
    assert any_lake.written_at(table, key) >= first


def test_a_path_holds_while_its_file_is_replaced(any_lake: Lake) -> None:
    with any_lake.publishing(FLATTENED_EVENTS, HOUR) as staged:
        staged.path.write_bytes(b"old")
    file = written_partition(any_lake, FLATTENED_EVENTS, HOUR)
    with Path(file).open("rb") as opened:
        with any_lake.publishing(FLATTENED_EVENTS, HOUR) as staged:
            staged.path.write_bytes(b"new")
        assert opened.read() == b"old"
    assert content(any_lake, FLATTENED_EVENTS, HOUR) == b"new"


def test_what_is_not_dated_is_dated_by_the_moment(any_lake: Lake) -> None:
    with any_lake.publishing(FLATTENED_EVENTS, HOUR) as staged:
        staged.path.write_bytes(b"rows")
    assert abs(any_lake.as_of(FLATTENED_EVENTS, HOUR) - any_lake.written_at(FLATTENED_EVENTS, HOUR)) < 1_000_000_000


def _write_half(path: Path) -> None:
    path.write_bytes(b"half of it")
    raise FileExistsError(path)


def test_what_fails_publishes_nothing_and_leaves_nothing(any_lake: Lake, tmp_path: Path) -> None:
    with pytest.raises(FileExistsError), any_lake.publishing(FLATTENED_EVENTS, HOUR) as staged:
        _write_half(staged.path)
    with pytest.raises(FileNotFoundError), any_lake.publishing(FLATTENED_EVENTS, HOUR):
        pass  # nothing was written
    assert any_lake.partition(FLATTENED_EVENTS, HOUR) is None
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_published_keys_are_listed_in_order(any_lake: Lake) -> None:
    for key in (HOUR + ONE_HOUR, HOUR):
        with any_lake.publishing(FLATTENED_EVENTS, key) as staged:
            staged.path.write_bytes(b"rows")
    for day in (DAY, DAY - timedelta(days=1)):
        with any_lake.publishing(CUSTOMER_PRICES, day) as staged:
            staged.path.write_bytes(b"prices")

    for lake in (any_lake, any_lake.snapshot()):
        assert lake.hours(FLATTENED_EVENTS) == [HOUR, HOUR + ONE_HOUR]
        assert lake.hours(ENRICHED_EVENTS) == []
        assert lake.days(CUSTOMER_PRICES) == [DAY - timedelta(days=1), DAY]
        assert lake.as_of(FLATTENED_EVENTS, HOUR) == any_lake.as_of(FLATTENED_EVENTS, HOUR) > 0
        assert content(lake, CUSTOMER_PRICES, DAY) == b"prices"


def test_the_day_of_a_partition_stands_in_its_path(any_lake: Lake) -> None:
    with any_lake.publishing(CUSTOMER_PRICES, DAY) as staged:
        staged.path.write_bytes(b"prices")
    path = Path(written_partition(any_lake, CUSTOMER_PRICES, DAY))
    assert path.parts[-2:] == ("date=2026-11-20", "customer_prices.parquet")


def test_tables_can_be_had_as_a_directory(any_lake: Lake) -> None:
    with any_lake.publishing(CUSTOMER_PRICES, DAY) as staged:
        staged.path.write_bytes(b"prices")
    with any_lake.publishing(LATEST_SEARCH_BY_USER, None) as staged:
        staged.path.write_bytes(b"report")
    with any_lake.mirrored([CUSTOMER_PRICES, LATEST_SEARCH_BY_USER]) as mirror:
        assert mirror.path(partition_file(CUSTOMER_PRICES, DAY)).read_bytes() == b"prices"
        assert mirror.path(partition_file(LATEST_SEARCH_BY_USER, None)).read_bytes() == b"report"


def test_small_files_have_a_date_of_their_own(any_lake: Lake) -> None:
    assert (any_lake.read("pages/page"), any_lake.dated("pages/page"), any_lake.exists("pages/page")) == (
        None,
        0,
        False,
    )
    any_lake.publish("pages/page", b"old", as_of=5)
    any_lake.publish("pages/page", b"new", as_of=7)
    assert (any_lake.read("pages/page"), any_lake.dated("pages/page"), any_lake.exists("pages/page")) == (
        b"new",
        7,
        True,
    )


def repair(number: int, hour: datetime, prefix: str = "replays") -> str:
    return f"{hour_prefix(prefix, hour)}/replay-{number:032x}.json.gz"


def test_what_is_landed_shows_by_hour_sorted_by_name(any_lake: Lake) -> None:
    for number in (2, 1):
        any_lake.publish(repair(number, HOUR), gzip.compress(b"%d" % number))
    any_lake.publish(repair(3, HOUR + ONE_HOUR), gzip.compress(b"3"))

    for lake in (any_lake, any_lake.snapshot()):
        files = lake.list_hour("replays", HOUR)
        assert [file.name for file in files] == [f"replay-{number:032x}.json.gz" for number in (1, 2)]
        assert [gzip.decompress(Path(path).read_bytes()) for path in local_paths(files)] == [b"1", b"2"]
        assert lake.landed_hours("replays") == [HOUR, HOUR + ONE_HOUR]
        assert (lake.list_hour("replays", HOUR - ONE_HOUR), lake.landed_hours("raw")) == ([], [])


def test_whatever_comes_to_an_hour_changes_its_date(any_lake: Lake) -> None:
    prefixes = ["replays", "failed/enrichment"]
    dates = [any_lake.changed_at(prefixes, HOUR)]
    for number, prefix in enumerate(prefixes * 2):
        any_lake.publish(repair(number, HOUR, prefix), gzip.compress(b"rows"))
        time.sleep(0.02)  # a file system's clock ticks every few milliseconds
        dates.append(any_lake.changed_at(prefixes, HOUR))
    any_lake.publish(repair(9, HOUR + ONE_HOUR), gzip.compress(b"rows"))

    assert dates[0] == 0
    assert len(set(dates)) == len(dates)
    assert any_lake.changed_at(prefixes, HOUR) == any_lake.snapshot().changed_at(prefixes, HOUR) == dates[-1]


def test_stages_that_failed_are_known_by_name(any_lake: Lake) -> None:
    assert any_lake.failed_prefixes() == []
    for stage in ("last_access", "delivery"):
        any_lake.publish(repair(1, HOUR, f"failed/{stage}"), b"")
    assert any_lake.failed_prefixes() == ["failed/delivery", "failed/last_access"]


def test_the_folders_of_a_new_partition_are_on_disk_when_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced, sync = set(), os.fsync

    def record(descriptor: int) -> None:
        synced.add(os.fstat(descriptor).st_ino)
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", record)
    lake = DirectoryLake(tmp_path / "lake")
    with lake.publishing(FLATTENED_EVENTS, HOUR) as staged:
        staged.path.write_bytes(b"rows")

    file = Path(written_partition(lake, FLATTENED_EVENTS, HOUR))
    assert {path.stat().st_ino for path in (file, *file.parents[: len(file.relative_to(tmp_path).parts)])} <= synced


def test_a_scratch_folder_goes(any_lake: Lake) -> None:
    with any_lake.scratch() as folder:
        (folder / "file").write_bytes(b"rows")
    assert not folder.exists()


KILLED_WHILE_WRITING = """
import os, sys
from datetime import UTC, datetime
from pathlib import Path
from resources.lake import DirectoryLake
from streaming.domain.tables import FLATTENED_EVENTS
lake = DirectoryLake(Path(sys.argv[1]))
with lake.scratch() as scratch, lake.publishing(FLATTENED_EVENTS, datetime(2026, 11, 20, 9, tzinfo=UTC)) as staged:
    (scratch / "rows").write_bytes(b"half of it")
    staged.path.write_bytes(b"half of it")
    os.kill(os.getpid(), 9)
"""


def test_what_a_killed_writer_left_is_swept_once_it_is_old(tmp_path: Path) -> None:
    lake = DirectoryLake(tmp_path)
    with lake.publishing(FLATTENED_EVENTS, HOUR) as staged:
        staged.path.write_bytes(b"old")
    killed = subprocess.run([sys.executable, "-c", KILLED_WHILE_WRITING, str(tmp_path)], cwd=ROOT, check=False)
    assert killed.returncode == -9

    assert lake.sweep(time.time() - 3600).paths == []
    swept = sweep(tmp_path, time.time() + 1)

    assert (len(swept.paths), swept.bytes) == (2, 20)
    assert [file for file in tmp_path.rglob("*") if file.is_file()] == [lake.partition(FLATTENED_EVENTS, HOUR)]
    assert content(lake, FLATTENED_EVENTS, HOUR) == b"old"
