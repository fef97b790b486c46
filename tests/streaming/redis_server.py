"""A Redis that a test may stop, kill and start again."""

import os
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import Self

import redis

from streaming.runtime.servers import LOOPBACK, free_port, redis_binary

START_SECONDS = 60


class RedisServer:
    """One private server, on one port for its life; in `folder` is an append-only file of all it acknowledged.

    It runs inside `with`, at whose end it is gone, however the body ended.
    """

    def __init__(self, folder: Path, *options: str) -> None:
        self.port = free_port()
        self.url = f"redis://{LOOPBACK}:{self.port}/0"
        # everysec would let a kill lose what was acknowledged
        defaults = ["--appendonly", "yes", "--appendfsync", "always", "--save", "", "--maxmemory-policy", "noeviction"]
        address = ["--bind", LOOPBACK, "--port", str(self.port), "--dir", str(folder)]
        self._command = [str(redis_binary()), *address, *defaults, *options]
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self._left = False
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        self._folder.mkdir(exist_ok=True)
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._left = True
            self.kill()

    def start(self) -> None:
        """Start it; also from a timer, which may come after the test has failed and left."""
        with self._lock:
            assert not self._left, "the test is over"
            self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)
            try:
                self._await_answer()
            except BaseException:
                self.kill()
                raise

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def stop(self) -> None:
        """Stop it as a debugger would: it keeps its connections, and answers nothing."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, name: signal.Signals) -> None:
        assert self._process is not None
        os.kill(self._process.pid, name)

    def _await_answer(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            assert time.monotonic() < deadline, "Redis did not start"
            time.sleep(0.02)

    def _answers(self) -> bool:
        with redis.Redis.from_url(self.url) as client:
            try:
                return bool(client.ping())
            except redis.RedisError:
                return False
