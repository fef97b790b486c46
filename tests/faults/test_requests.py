"""Requests that would take more than their share of the collector."""

import socket
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.faults.platform import Platform
from tests.landing import event_text

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

MIB = 1_048_576
BOMB_MIB = 300
# What the collector may take for all of these requests; the bomb alone would take five times as much.
MOST_MIB = 64
# It waits 10 seconds for a head or a body.
PATIENCE_SECONDS = 25.0
TRICKLE_SECONDS = 0.2

HEAD = b"POST /events HTTP/1.1\r\nHost: here\r\n"
SLOW_CLIENTS = (HEAD + b"X-Slow: ", HEAD + b"Content-Type: application/json\r\nContent-Length: 9000\r\n\r\n[")


def test_29_gzip_bomb_10_mib_body_and_slow_clients(platform: Platform) -> None:
    good = event_text(datetime.now(UTC), "good")
    assert platform.post(good).status_code == 200
    before = _peak_mib(platform)
    with ThreadPoolExecutor(len(SLOW_CLIENTS)) as clients:
        slow = [clients.submit(_trickle, platform, start) for start in SLOW_CLIENTS]
        for refused in (
            platform.post(_bomb(), **{"content-encoding": "gzip"}),
            platform.post(b"[%b]" % (b" " * 10 * MIB)),
        ):
            assert (refused.status_code, refused.json()["type"]) == (413, "urn:clickstream:problem:too-large")
        assert platform.post(good).status_code == 200, "the others are served meanwhile"
        answers = [client.result() for client in slow]
    assert answers[0] == b"", "a head that does not end is cut off"
    assert answers[1].startswith(b"HTTP/1.1 408")
    assert _peak_mib(platform) - before < MOST_MIB
    summary = platform.expect_invariant()
    assert (summary["raw"], summary["flattened"]) == (2, 1)


def _bomb() -> bytes:
    """Some 300 KB that unpack to a thousand times as much."""
    packer = zlib.compressobj(wbits=31)
    return b"".join(packer.compress(b" " * MIB) for _ in range(BOMB_MIB)) + packer.flush()


def _trickle(platform: Platform, start: bytes) -> bytes:
    """Send a byte now and then until the collector has had enough; what it answered."""
    address = urlsplit(platform.settings.collector_url)
    deadline = time.monotonic() + PATIENCE_SECONDS
    with closing(socket.create_connection((address.hostname, address.port))) as connection, suppress(ConnectionError):
        connection.settimeout(TRICKLE_SECONDS)
        connection.sendall(start)
        while True:
            assert time.monotonic() < deadline, "it is still listening"
            try:
                return connection.recv(4096)
            except TimeoutError:
                connection.sendall(b" ")
    return b""


def _peak_mib(platform: Platform) -> float:
    """The most memory that the collector ever held."""
    status = Path(f"/proc/{platform.pid('collector')}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024
