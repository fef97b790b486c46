"""A Redis that a test may stop, kill and start again."""

import os
import signal
import subprocess
import time
from pathlib import Path

import redis

from streaming.runtime.servers import LOOPBACK, free_port, redis_binary


class RedisServer:
    """One private server, on one port for its life, with an append-only file in `folder`."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.port = free_port()
        self.url = f"redis://{LOOPBACK}:{self.port}/0"
        self._folder = folder
        self._options = options
        self.start()

    def start(self) -> None:
        defaults = ["--appendonly", "yes", "--save", "", "--maxmemory-policy", "noeviction"]
        command = [str(redis_binary()), "--bind", LOOPBACK, "--port", str(self.port), "--dir", str(self._folder)]
        self._process = subprocess.Popen([*command, *defaults, *self._options], stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 10
        while not self._answers():
            assert time.monotonic() < deadline, "Redis did not start"
            time.sleep(0.02)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """Stop it as a debugger would: it keeps its connections, and answers nothing."""
        os.kill(self._process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.kill(self._process.pid, signal.SIGCONT)

    def _answers(self) -> bool:
        with redis.Redis.from_url(self.url) as client:
            try:
                return bool(client.ping())
            except redis.RedisError:
                return False
