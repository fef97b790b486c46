"""The lake directory: whole files or none."""

import errno
import gzip
import os
from datetime import UTC, datetime, timedelta, timezone

import pytest

from streaming.edges.lake import LocalLake, gzip_bytes, replaced

HOUR = datetime(2026, 11, 23, 4, tzinfo=UTC)
FOLDER = "raw/year=2026/month=11/day=23/hour=04"


@pytest.fixture
def lake(tmp_path):
    return LocalLake(tmp_path / "lake")


def test_a_published_file_is_listed_in_its_hour(lake):
    lake.publish(f"{FOLDER}/b.json.gz", b"2")
    lake.publish(f"{FOLDER}/a.json.gz", b"1")

    assert [path.name for path in lake.list_hour("raw", HOUR)] == ["a.json.gz", "b.json.gz"]
    assert lake.path(f"{FOLDER}/a.json.gz").read_bytes() == b"1"
    assert lake.list_hour("raw", HOUR.astimezone(timezone(timedelta(hours=5)))) == lake.list_hour("raw", HOUR)


def test_publishing_again_replaces(lake):
    lake.publish(f"{FOLDER}/a", b"old")
    lake.publish(f"{FOLDER}/a", b"new")

    assert [path.read_bytes() for path in lake.list_hour("raw", HOUR)] == [b"new"]


def test_hours_are_those_with_files(lake):
    lake.publish("raw/year=2026/month=11/day=23/hour=05/a", b"")
    lake.publish(f"{FOLDER}/a", b"")
    lake.path("raw/year=2026/month=11/day=23/hour=06").mkdir()
    lake.path("raw/year=2026/month=11/day=23/hour=06/.b.json.gz").touch()

    assert lake.landed_hours("raw") == [HOUR, HOUR + timedelta(hours=1)]
    assert lake.landed_hours("enriched") == []
    assert lake.list_hour("raw", HOUR + timedelta(days=1)) == []


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_disk_that_refuses_leaves_the_old_file_and_nothing_else(lake, monkeypatch, step):
    lake.publish(f"{FOLDER}/a", b"old")

    def refuse(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, step, refuse)
    with pytest.raises(OSError, match="No space"):
        lake.publish(f"{FOLDER}/a", b"new")
    monkeypatch.undo()

    assert [path.read_bytes() for path in lake.path(FOLDER).iterdir()] == [b"old"]


@pytest.fixture
def synced(monkeypatch):
    """The inodes of what was written to disk for good, in order."""
    inodes, sync = [], os.fsync

    def record(descriptor):
        inodes.append(os.fstat(descriptor).st_ino)
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", record)
    return inodes


def test_a_new_file_and_its_entry_in_the_folder_are_on_disk_when_it_is_published(lake, synced):
    lake.publish(f"{FOLDER}/a", b"old")
    synced.clear()
    lake.publish(f"{FOLDER}/a", b"new")

    file = lake.path(f"{FOLDER}/a")
    assert synced == [file.stat().st_ino, file.parent.stat().st_ino]


def test_new_folders_are_on_disk_each_in_the_one_above_it_when_a_file_is(lake, synced):
    file = lake.path(f"{FOLDER}/a")
    with replaced(file) as draft:
        draft.write_bytes(b"new")

    up_to_where_something_was = reversed(file.parents[1:7])
    assert synced == [path.stat().st_ino for path in (*up_to_where_something_was, file, file.parent)]


def test_what_can_be_made_anew_waits_for_no_disk(tmp_path, synced):
    with replaced(tmp_path / "memory", as_of=17, durable=False) as draft:
        draft.write_bytes(b"new")

    assert (tmp_path / "memory").stat().st_mtime_ns == 17
    assert synced == []


def test_gzip_is_reproducible():
    data = b"one line\n" * 1000

    assert gzip.decompress(gzip_bytes(data)) == data
    assert gzip_bytes(data) == gzip_bytes(data)
    assert gzip_bytes(data)[4:8] == b"\0\0\0\0"
