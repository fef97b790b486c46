"""Private servers keep their data and stay on loopback; servers the user names are verified."""

import os
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pymysql
import pytest
import redis

from streaming.runtime.servers import (
    LOOPBACK,
    free_port,
    mariadb_service,
    plan_servers,
    redis_binary,
    redis_service,
    verify_cache,
)
from streaming.runtime.supervisor import Service, Supervisor, SupervisorError, running_processes, running_system
from streaming.settings import SettingError


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Supervisor]:
    with Supervisor(tmp_path, print, stop_signals=()) as running:
        yield running


def test_redis_keeps_what_it_acknowledged_when_it_is_killed(tmp_path: Path, supervisor: Supervisor) -> None:
    port = free_port()
    supervisor.start(redis_service("stream-redis", tmp_path / "redis", port))
    with redis.Redis(port=port) as client:
        for number in range(100):
            client.xadd("events:0", {"n": number})
        _kill_and_wait_for_restart(supervisor, tmp_path)
        assert client.xlen("events:0") == 100
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}


def test_mariadb_keeps_what_it_committed_when_it_is_killed(tmp_path: Path, supervisor: Supervisor) -> None:
    port = free_port()
    supervisor.start(mariadb_service(tmp_path / "mariadb", port, print))
    with pymysql.connect(host=LOOPBACK, port=port, user="root") as connection:
        connection.cursor().execute("CREATE DATABASE shop")
    _kill_and_wait_for_restart(supervisor, tmp_path)
    with pymysql.connect(host=LOOPBACK, port=port, user="root", database="shop"):
        pass


def test_mariadb_starts_in_a_home_with_blanks_deeper_than_a_socket_path(tmp_path: Path, supervisor: Supervisor) -> None:
    data = tmp_path / ("a " * 30) / ("b" * 60) / "mariadb"
    supervisor.start(mariadb_service(data, free_port(), print))
    assert data.is_dir()


def test_servers_listen_on_loopback_only(tmp_path: Path, supervisor: Supervisor) -> None:
    plan = plan_servers(tmp_path, {}, print)
    supervisor.start(*plan.services)
    processes = [process for identity in running_processes(tmp_path) if (process := identity.process())]
    listening = {c.laddr.ip for process in processes for c in process.net_connections("inet") if c.status == "LISTEN"}
    assert len(processes) == 3
    assert listening == {LOOPBACK}


def test_servers_that_the_environment_names_are_not_started(
    stream_redis_url: str, mysql_url: str, tmp_path: Path
) -> None:
    named = {"REDIS_URL": stream_redis_url, "CACHE_REDIS_URL": stream_redis_url, "MYSQL_URL": mysql_url}
    plan = plan_servers(tmp_path, named, print)
    assert plan.services == ()
    assert plan.environment == named


def test_a_stream_server_that_could_lose_events_is_refused(tmp_path: Path, supervisor: Supervisor) -> None:
    port = free_port()
    forgetful = [redis_binary(), "--bind", LOOPBACK, "--port", str(port), "--dir", tmp_path, "--save", ""]
    supervisor.start(Service("forgetful", forgetful, ready=lambda: _listens(port)))
    with pytest.raises(SettingError, match="append-only file"):
        plan_servers(tmp_path, {"REDIS_URL": f"redis://{LOOPBACK}:{port}"}, print)


def test_a_cache_that_evicts_is_refused(cache_redis_url: str) -> None:
    with redis.Redis.from_url(cache_redis_url) as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
        try:
            with pytest.raises(SupervisorError, match="allkeys-lru"):
                verify_cache(cache_redis_url)
        finally:
            client.config_set("maxmemory-policy", "noeviction")


@pytest.mark.parametrize("variable", ["REDIS_URL", "CACHE_REDIS_URL", "MYSQL_URL"])
def test_a_named_server_that_does_not_answer_is_an_error(variable: str, free_port: int, tmp_path: Path) -> None:
    scheme = "mysql" if variable == "MYSQL_URL" else "redis"
    with pytest.raises(SupervisorError, match=f"{variable} names a server that does not answer"):
        plan_servers(tmp_path, {variable: f"{scheme}://root@{LOOPBACK}:{free_port}/clickstream"}, print)


def test_a_taken_port_yields_another(free_port: int) -> None:
    from streaming.runtime import servers

    assert servers.free_port(free_port) == free_port
    with socket.create_server((LOOPBACK, free_port)):
        assert servers.free_port(free_port) not in (0, free_port)


def test_without_mariadb_a_user_who_is_not_root_is_told_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SupervisorError, match=r"apt-get install mariadb-server-core .* or set MYSQL_URL"):
        mariadb_service(tmp_path / "mariadb", free_port(), lambda text: print(text, file=sys.stderr))


def _kill_and_wait_for_restart(supervisor: Supervisor, home: Path) -> None:
    [killed] = running_processes(home)
    os.kill(killed.pid, signal.SIGKILL)
    psutil.wait_procs([process] if (process := killed.process()) else [], timeout=10)

    def restarted() -> bool:
        system = running_system(home)
        return bool(system and system["ready"] and system["processes"][killed.name]["pid"] != killed.pid)

    supervisor.watch(restarted, probe_seconds=0.05)


def _listens(port: int) -> bool:
    with socket.socket() as connection:
        return connection.connect_ex((LOOPBACK, port)) == 0
