"""A partition appears whole or not at all."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from resources.lake import DirectoryLake, sweep
from streaming.settings import ROOT


def test_a_reader_sees_the_old_file_until_the_new_one_is_whole(tmp_path: Path) -> None:
    lake = DirectoryLake(tmp_path)
    lake.publish("table/file", b"old")
    with lake.replacing("table/file", as_of=1_000_000_000) as staged:
        staged.write_bytes(b"new")
        assert lake.path("table/file").read_bytes() == b"old"
    assert lake.path("table/file").read_bytes() == b"new"
    assert lake.path("table/file").stat().st_mtime_ns == 1_000_000_000


def test_what_fails_leaves_nothing(tmp_path: Path) -> None:
    lake = DirectoryLake(tmp_path)
    with pytest.raises(FileNotFoundError), lake.replacing("table/file") as staged:
        staged.with_name("nowhere").read_bytes()
    assert not list(lake.path("table").iterdir())


KILLED_WHILE_WRITING = """
import os, sys
from pathlib import Path
from resources.lake import DirectoryLake
lake = DirectoryLake(Path(sys.argv[1]))
with lake.scratch() as scratch, lake.replacing("table/file", as_of=1) as staged:
    (scratch / "rows").write_bytes(b"half of it")
    staged.write_bytes(b"half of it")
    os.kill(os.getpid(), 9)
"""


def test_what_a_killed_writer_left_is_swept_once_it_is_old(tmp_path: Path) -> None:
    lake = DirectoryLake(tmp_path)
    lake.publish("table/file", b"old")
    killed = subprocess.run([sys.executable, "-c", KILLED_WHILE_WRITING, str(tmp_path)], cwd=ROOT, check=False)
    assert killed.returncode == -9

    assert sweep(tmp_path, time.time() - 3600).paths == []
    swept = sweep(tmp_path, time.time() + 1)

    assert (len(swept.paths), swept.bytes) == (2, 20)
    assert [file for file in tmp_path.rglob("*") if file.is_file()] == [lake.path("table/file")]
    assert lake.path("table/file").read_bytes() == b"old"
