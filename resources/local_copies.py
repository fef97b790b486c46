"""Copies on this machine of files that lie elsewhere: made once, shared by all processes, bounded in bytes.

A copy is never changed. Who uses one holds a link of their own to it, in a folder of their process: a copy that goes
meanwhile stays theirs, and the number of links tells which copies nobody uses.
"""

import fcntl
import hashlib
import os
import shutil
import threading
import weakref
from collections.abc import Callable
from itertools import count
from pathlib import Path

from streaming.edges.lake import replaced
from streaming.jobs.work import LakeFile

# How much more there may be before the bound is looked after again, as a share of it.
_SLACK = 0.02


class _Path(str):
    """A path, and the file as long as which it holds good."""

    file: "RemoteFile"


class RemoteFile:
    """A file that is fetched when its path is asked for; it holds as long as this object, or what `os.fspath` gave.

    `origin` says where it comes from, for who reads it there.
    """

    def __init__(self, name: str, fetch: Callable[[], Path], origin: Callable[[], LakeFile] | None = None) -> None:
        self.name = name
        self.origin = origin
        self._fetch = fetch
        self._path: Path | None = None
        self._lock = threading.Lock()

    def __fspath__(self) -> str:
        with self._lock:
            if self._path is None:
                self._path = self._fetch()
                weakref.finalize(self, _let_go, self._path, os.getpid())
        path = _Path(self._path)
        path.file = self
        return path

    def __repr__(self) -> str:
        return f"RemoteFile({self.name!r})"


class LocalCopies:
    """Copies in a folder; beyond `most_bytes` those go that were not used for longest, as far as nobody uses them."""

    def __init__(self, folder: Path, most_bytes: int) -> None:
        self._copies = folder / "copies"
        self._links = folder / "links"
        self._most_bytes = most_bytes
        self._numbers = count()
        self._own: tuple[int, Path, int] | None = None
        self._unchecked = most_bytes  # what others left is looked at with the first copy
        self._lock = threading.Lock()

    def linked(self, identity: str, name: str, make: Callable[[Path], None]) -> Path:
        """A link named `name` to the copy of what has this identity.

        Args:
            name: a file name, or a path of one below folders that readers look at, such as `date=2026-11-23/…`.
            make: writes the copy to the path given, where there is none yet.
        """
        digest = hashlib.sha256(identity.encode()).hexdigest()[:40]
        copy = self._copies / digest[:2] / digest
        link = self._own_links() / str(next(self._numbers)) / name
        link.parent.mkdir(parents=True)
        try:
            os.link(copy, link)
            os.utime(link)
        except FileNotFoundError:
            self._make(copy, link, make)
        return link

    def _make(self, copy: Path, link: Path, make: Callable[[Path], None]) -> None:
        with replaced(copy, durable=False) as draft:
            make(draft)
            os.link(draft, link)
        with self._lock:
            self._unchecked += link.stat().st_size
            due = self._unchecked > self._most_bytes * _SLACK
            self._unchecked = 0 if due else self._unchecked
        if due:
            self.trim()

    def trim(self) -> None:
        """Remove what is beyond the bound, and the links of processes that are gone."""
        self._forget_the_dead()
        copies = []
        for copy in self._copies.glob("*/[!.]*"):
            try:
                state = copy.stat()
            except FileNotFoundError:
                continue
            copies.append((state.st_mtime_ns, state.st_size, state.st_nlink, copy))
        beyond = sum(size for _, size, _, _ in copies) - self._most_bytes
        for _, size, links, copy in sorted(copies):
            if beyond <= 0:
                return
            if links == 1:
                copy.unlink(missing_ok=True)
                beyond -= size

    def _own_links(self) -> Path:
        """The folder of this process's links, which it holds locked while it lives."""
        with self._lock:
            if self._own is None or self._own[0] != os.getpid():
                name = f"{os.getpid()}-{os.urandom(4).hex()}"
                # Locked before others look at it: one that nobody holds locked is taken for a dead process's.
                folder = self._links / f".{name}"
                folder.mkdir(parents=True)
                lock = os.open(folder / "lock", os.O_CREAT | os.O_RDWR)
                fcntl.flock(lock, fcntl.LOCK_EX)
                self._own = os.getpid(), folder.rename(self._links / name), lock
            return self._own[1]

    def _forget_the_dead(self) -> None:
        for folder in self._links.glob("[!.]*"):
            if (self._own is None or folder != self._own[1]) and _is_abandoned(folder):
                shutil.rmtree(folder, ignore_errors=True)


def _is_abandoned(folder: Path) -> bool:
    try:
        lock = os.open(folder / "lock", os.O_RDWR)
    except FileNotFoundError:  # somebody else is removing it, or was killed while doing so
        return True
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    else:
        return True
    finally:
        os.close(lock)


def _let_go(link: Path, process: int) -> None:
    """Remove a link and its folders, up to that of its process, which is not empty."""
    if process != os.getpid():  # a fork of it has the object too
        return
    link.unlink(missing_ok=True)
    for folder in link.parents:
        try:
            folder.rmdir()
        except OSError:
            return
