"""Copies are made once, whole, shared by processes, and bounded; what somebody uses stays."""

import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from resources.local_copies import LocalCopies, RemoteFile
from streaming.settings import ROOT

KILO = 1000


def file_of(copies: LocalCopies, identity: str, size: int = KILO, made: list[str] | None = None) -> RemoteFile:
    def make(target: Path) -> None:
        target.write_bytes(identity.encode() * (size // len(identity)))
        if made is not None:
            made.append(identity)

    return RemoteFile(identity, lambda: copies.linked(identity, f"{identity}.txt", make))


def bytes_on_disk(folder: Path) -> int:
    """Each file once, however many links it has."""
    states = {(state := path.stat()).st_ino: state.st_size for path in folder.rglob("*") if path.is_file()}
    return sum(states.values())


def test_a_copy_is_made_when_its_path_is_asked_for_and_once(tmp_path: Path) -> None:
    copies, made = LocalCopies(tmp_path, 100 * KILO), []
    files = [file_of(copies, "aaaa", made=made) for _ in range(3)]
    assert made == []
    assert {Path(file).read_bytes()[:4] for file in files} == {b"aaaa"}
    assert os.fspath(files[0]) == os.fspath(files[0]) != os.fspath(files[1])
    assert made == ["aaaa"]
    again = file_of(LocalCopies(tmp_path, 100 * KILO), "aaaa", made=made)  # as another process has them
    assert Path(again).name == "aaaa.txt"
    assert made == ["aaaa"]


def test_a_path_holds_as_long_as_it_is_referred_to(tmp_path: Path) -> None:
    copies = LocalCopies(tmp_path, KILO)
    paths = [os.fspath(file_of(copies, f"{number:04}")) for number in range(5)]
    assert [Path(path).stat().st_size for path in paths] == [KILO] * 5
    first = Path(paths[0])
    del paths
    assert not first.exists()


def test_those_that_were_not_used_for_longest_go(tmp_path: Path) -> None:
    copies, made = LocalCopies(tmp_path, 10 * KILO), []
    for number in range(8):
        os.fspath(file_of(copies, f"{number:04}", made=made))
        os.fspath(file_of(copies, "0000", made=made))  # used all the time
    for number in range(8, 30):
        os.fspath(file_of(copies, f"{number:04}", made=made))
        os.fspath(file_of(copies, "0000", made=made))
    assert bytes_on_disk(tmp_path) <= 11 * KILO
    assert made.count("0000") == 1
    os.fspath(file_of(copies, "0003", made=made))
    assert made.count("0003") == 2


def test_what_is_in_use_stays_whatever_else_comes(tmp_path: Path) -> None:
    copies = LocalCopies(tmp_path, 5 * KILO)
    used = [file_of(copies, f"u{number:03}") for number in range(20)]
    paths = [os.fspath(file) for file in used]
    for number in range(50):
        os.fspath(file_of(copies, f"{number:04}"))
    assert [Path(path).read_bytes()[:4].decode() for path in paths] == [file.name for file in used]
    assert bytes_on_disk(tmp_path) <= 27 * KILO

    del used, paths
    copies.trim()
    assert bytes_on_disk(tmp_path) <= 5 * KILO


def test_a_copy_that_fails_leaves_nothing_and_can_be_made_again(tmp_path: Path) -> None:
    copies = LocalCopies(tmp_path, 100 * KILO)

    def fail(target: Path) -> None:
        target.write_bytes(b"half of it")
        raise ConnectionResetError

    broken = RemoteFile("a", lambda: copies.linked("aaaa", "a.txt", fail))
    with pytest.raises(ConnectionResetError):
        os.fspath(broken)
    assert bytes_on_disk(tmp_path / "copies") == 0
    good = file_of(copies, "aaaa")
    assert Path(good).read_bytes() == b"aaaa" * 250


def test_threads_that_want_the_same_get_it_whole(tmp_path: Path) -> None:
    copies = LocalCopies(tmp_path, 3 * KILO)
    files = [file_of(copies, f"{number % 7:04}") for number in range(200)]
    with ThreadPoolExecutor(8) as threads:
        sizes = set(threads.map(lambda file: Path(file).stat().st_size, files))
    assert sizes == {KILO}


def test_a_process_that_begins_is_not_taken_for_a_dead_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Others remove the links of processes that are gone just before it locks its own, and just after."""
    copies, other = LocalCopies(tmp_path, 100 * KILO), LocalCopies(tmp_path, 100 * KILO)
    lock, locked = fcntl.flock, []

    def watched(file: int, operation: int) -> None:
        if operation != fcntl.LOCK_EX:
            lock(file, operation)
            return
        other.trim()
        lock(file, operation)
        other.trim()
        locked.append(file)

    monkeypatch.setattr(fcntl, "flock", watched)
    held = os.fspath(file_of(copies, "aaaa"))
    assert len(locked) == 1
    for folder in (tmp_path / "links").iterdir():
        os.utime(folder, (0, 0))  # however long ago it began
    other.trim()
    assert Path(held).read_bytes() == b"aaaa" * 250


def test_links_that_were_removed_in_part_go_too(tmp_path: Path) -> None:
    left = tmp_path / "links" / "7-left" / "0" / "a.txt"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"a")
    LocalCopies(tmp_path, KILO).trim()
    assert list((tmp_path / "links").iterdir()) == []


USED_BY_ANOTHER_PROCESS = """
import os, sys
from pathlib import Path
from resources.local_copies import LocalCopies, RemoteFile
copies = LocalCopies(Path(sys.argv[1]), 1000)
file = RemoteFile("held", lambda: copies.linked("held", "held.txt", lambda target: target.write_bytes(b"h" * 1000)))
print(os.fspath(file), flush=True)
sys.stdin.readline()
os.kill(os.getpid(), 9)
"""


@pytest.fixture
def other(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", USED_BY_ANOTHER_PROCESS, str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


def test_what_another_process_uses_stays_until_it_is_gone(tmp_path: Path, other: subprocess.Popen[str]) -> None:
    assert other.stdout is not None
    held = Path(other.stdout.readline().strip())
    copies = LocalCopies(tmp_path, KILO)
    for number in range(5):
        os.fspath(file_of(copies, f"{number:04}"))
    copies.trim()
    assert held.read_bytes() == b"h" * KILO

    other.communicate("now\n", timeout=20)
    assert other.returncode == -9
    copies.trim()
    assert not held.exists()
    assert bytes_on_disk(tmp_path) <= KILO
