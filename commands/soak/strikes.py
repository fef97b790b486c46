"""The faults of a soak, each with the rows of the fault catalogue (tests/faults) that it is of."""

import resource
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Literal

import redis

from commands.soak.target import MATERIALIZE, PIPELINE, Target
from streaming.edges.backoff import until_done

Kind = Literal["kill", "stop", "server", "disk", "records", "run"]
KINDS: tuple[Kind, ...] = ("kill", "stop", "server", "disk", "records", "run")

RUN_SECONDS = 300.0
SECOND_WORKER_SECONDS = 60.0
DOUBLED_RECORDS = 100
DOUBLED_AGE_SECONDS = 10


@dataclass(frozen=True)
class Strike:
    """One fault: `inflict` strikes when it is entered and heals when it is left, `seconds` later (from, to).

    `rows` are those of the catalogue; `kills` the services that it ends.
    """

    name: str
    kind: Kind
    rows: tuple[int, ...]
    inflict: Callable[[Target, Random], AbstractContextManager[None]]
    seconds: tuple[float, float] = (0.0, 0.0)
    kills: tuple[str, ...] = ()


@contextmanager
def _signalled(signum: signal.Signals, names: tuple[str, ...], target: Target, _: Random) -> Iterator[None]:
    """Kill services, or stop them and let them go on as if nothing had been."""
    target.signal(signum, *names)
    yield
    target.signal(signal.SIGCONT, *names)


@contextmanager
def _thought_dead(role: str, target: Target, _: Random) -> Iterator[None]:
    """Stop a worker for longer than its leases last, while another takes its shards; then let it write again."""
    target.signal(signal.SIGSTOP, role)
    with target.process(f"second-{role}", "streaming.runtime.worker", role) as second:
        yield
        target.signal(signal.SIGCONT, role)
        target.stop.wait(3)
        second.terminate()
        second.wait(SECOND_WORKER_SECONDS)


@contextmanager
def _wiped(target: Target, _: Random) -> Iterator[None]:
    target.cache_was_wiped = True
    target.cache_redis.flushall()
    yield


@contextmanager
def _out_of_memory(server: Callable[[Target], redis.Redis], target: Target, _: Random) -> Iterator[None]:
    server(target).config_set("maxmemory", 1)
    yield
    server(target).config_set("maxmemory", 0)


@contextmanager
def _cut(server: Callable[[Target], redis.Redis], target: Target, _: Random) -> Iterator[None]:
    """Close every connection to a server at once."""
    server(target).client_kill_filter(_type="normal", skipme=True)
    yield


@contextmanager
def _disk_refuses(name: str, target: Target, _: Random) -> Iterator[None]:
    """Let a service write no byte more to any file."""
    with ExitStack() as healing:
        for process in target.processes(name):
            healing.enter_context(_no_file_beyond(0, process.pid))
        yield


@contextmanager
def _disk_fails_in_mid_write(target: Target, random: Random) -> Iterator[None]:
    """Let the stream's Redis write but a part of its next records; it dies of it, as it should."""
    written = (target.home / "stream-redis" / "appendonly.aof").stat().st_size
    with ExitStack() as healing:
        for process in target.processes("stream-redis"):
            healing.enter_context(_no_file_beyond(written + random.randrange(1, 5_000), process.pid))
        yield


@contextmanager
def _poisoned(target: Target, random: Random) -> Iterator[None]:
    """Put records on the stream that no edge would have let in."""
    target.put([("poison", data) for data in poison(random)])
    yield


@contextmanager
def _doubled(target: Target, random: Random) -> Iterator[None]:
    """Put records on the stream that are on it already, as a producer does that missed its acknowledgement."""
    since = f"{round((time.time() - DOUBLED_AGE_SECONDS) * 1000):013d}-0"
    shard = random.choice(target.stream.list_shards())
    page = until_done(partial(target.stream.get_records, shard, since, DOUBLED_RECORDS, 1.0), target.stop)
    target.put([(record.partition_key, record.data) for record in page.records])
    yield


@contextmanager
def _run_killed(target: Target, _: Random) -> Iterator[None]:
    """Kill a run of materialize wherever it is."""
    with target.process("materialize", *MATERIALIZE):
        yield


@contextmanager
def _run_without_disk(target: Target, _: Random) -> Iterator[None]:
    """Take the disk from a run of materialize wherever it is."""
    with target.process("materialize", *MATERIALIZE) as run:
        yield
        with _no_file_beyond(0, run.pid):
            run.wait(RUN_SECONDS)


@contextmanager
def _two_runs(target: Target, _: Random) -> Iterator[None]:
    with target.process("materialize", *MATERIALIZE) as one, target.process("materialize-too", *MATERIALIZE) as other:
        yield
        one.wait(RUN_SECONDS)
        other.wait(RUN_SECONDS)


@contextmanager
def _no_file_beyond(size: int, pid: int) -> Iterator[None]:
    """Fail every write of a process to a file beyond `size` bytes."""
    try:
        _, most = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, most))
    except ProcessLookupError:
        yield
        return
    yield
    with suppress(ProcessLookupError):
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (most, most))


def poison(random: Random) -> list[bytes]:
    """Bytes that break parsers, each unlike any before."""
    mark = b"%016x" % random.getrandbits(64)
    forged = b'{"record_id":"%b","arrival_timestamp":"2999-01-01T00:00:00.000000Z","client_ip":null,"event":{}}\n'
    return [
        b"[" * 100_000 + mark,
        b'{"a":' * 30_000 + mark,
        b'{"user_id":"\\ud800%b"}' % mark,
        b'{"user_id":"%b","additional_data":{"price":1e400}}' % mark,
        b'{"user_id":"%b","additional_data":{"price":NaN}}' % mark,
        b'{"user_id":"%b","user_id":"%b"}' % (mark, mark),
        b'{"user_id":%d}' % (2**70 + random.getrandbits(64)),
        b'{"user_id":"\xff\xfe%b"}' % mark,
        b'{"user_id":"%b"}' % (mark * 5_000),
        b"\x1f\x8b\x08\x00" + mark,
        mark + b"\r\n\n\x00" + mark,
        forged % (mark * 2),
    ]


_CATALOGUE_ROWS = {
    "stream-redis": (20, 23), "cache-redis": (19, 20, 23), "mariadb": (21, 23), "delivery": (8, 23),
    "consumers": (8, 23), "collector": (2, 23),
}  # fmt: skip
_SERVERS: dict[str, Callable[[Target], redis.Redis]] = {
    "stream-redis": lambda target: target.stream_redis,
    "cache-redis": lambda target: target.cache_redis,
}

STRIKES: tuple[Strike, ...] = (
    *(
        Strike(f"{name} killed", "kill", rows, partial(_signalled, signal.SIGKILL, (name,)), kills=(name,))
        for name, rows in _CATALOGUE_ROWS.items()
    ),
    Strike(
        "everything killed at once", "kill", (20, 23), partial(_signalled, signal.SIGKILL, PIPELINE), kills=PIPELINE
    ),
    *(
        Strike(f"{name} stopped", "stop", rows, partial(_signalled, signal.SIGSTOP, (name,)), (1.0, 12.0))
        for name, rows in _CATALOGUE_ROWS.items()
    ),
    *(
        Strike(f"{role} thought dead", "stop", (25,), partial(_thought_dead, role), (8.0, 11.0))
        for role in ("delivery", "consumers")
    ),
    Strike("cache wiped", "server", (20,), _wiped),
    *(
        Strike(f"{name} out of memory", "server", (19,), partial(_out_of_memory, server), (2.0, 8.0))
        for name, server in _SERVERS.items()
    ),
    *(
        Strike(f"{name} cuts its connections", "server", (19,), partial(_cut, server))
        for name, server in _SERVERS.items()
    ),
    Strike("the lake's disk refuses delivery", "disk", (22,), partial(_disk_refuses, "delivery"), (3.0, 10.0)),
    Strike(
        "the stream's disk fails in mid-write",
        "disk",
        (20, 22),
        _disk_fails_in_mid_write,
        (1.0, 2.0),
        ("stream-redis",),
    ),
    Strike("the disk fails a run of materialize", "disk", (22, 24), _run_without_disk, (2.0, 12.0)),
    Strike("poison on the stream", "records", (4, 5, 15, 16), _poisoned),
    Strike("records delivered again", "records", (2, 14), _doubled),
    Strike("a run of materialize killed", "run", (24,), _run_killed, (2.0, 12.0)),
    Strike("two runs of materialize at once", "run", (25,), _two_runs),
)
