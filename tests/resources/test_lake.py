"""A partition appears whole or not at all."""

from pathlib import Path

import pytest

from resources.lake import Lake


def test_a_reader_sees_the_old_file_until_the_new_one_is_whole(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    lake.publish("table/file", b"old")
    with lake.publishing("table/file", as_of=1_000_000_000) as staged:
        staged.write_bytes(b"new")
        assert lake.path("table/file").read_bytes() == b"old"
    assert lake.path("table/file").read_bytes() == b"new"
    assert lake.path("table/file").stat().st_mtime_ns == 1_000_000_000


def test_what_fails_leaves_nothing(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    with pytest.raises(FileNotFoundError), lake.publishing("table/file") as staged:
        staged.with_name("nowhere").read_bytes()
    assert not list(lake.path("table").iterdir())
