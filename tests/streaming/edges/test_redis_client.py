"""Redis behind TLS and with a password that is kept, and rotated, in Secrets Manager."""

import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from streaming.edges.redis_client import redis_client
from streaming.edges.user_cache import UserCache
from tests.streaming.redis_server import RedisServer
from tests.streaming.tls import LOOPBACK, Authority, tls_before


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "authority")


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis whose password is `old`."""
    with RedisServer(tmp_path / "redis") as server:
        with redis.Redis.from_url(server.url) as client:
            client.config_set("requirepass", "old")
        yield server


def test_the_cache_works_over_tls(cache_redis_url: str, authority: Authority) -> None:
    with tls_before(_port(cache_redis_url), authority.issue()) as port:
        cache = UserCache(f"rediss://{LOOPBACK}:{port}/0?ssl_ca_certs={authority.file}")
        cache.put_names({"20": "Semyon Ryan"})
        assert cache.look_up(["20"], []).names == {"20": "Semyon Ryan"}


def test_a_server_of_another_authority_is_refused(cache_redis_url: str, authority: Authority, tmp_path: Path) -> None:
    other = Authority(tmp_path, "other")
    with tls_before(_port(cache_redis_url), authority.issue()) as port:
        for query in (f"?ssl_ca_certs={other.file}", ""):
            with pytest.raises(redis.ConnectionError, match="CERTIFICATE_VERIFY_FAILED"):
                redis_client(f"rediss://{LOOPBACK}:{port}/0{query}").ping()


def test_a_server_of_another_name_is_refused(cache_redis_url: str, authority: Authority) -> None:
    with (
        tls_before(_port(cache_redis_url), authority.issue("127.0.0.2")) as port,
        pytest.raises(redis.ConnectionError, match="CERTIFICATE_VERIFY_FAILED"),
    ):
        redis_client(f"rediss://{LOOPBACK}:{port}/0?ssl_ca_certs={authority.file}").ping()


def test_a_server_that_is_silent_costs_no_more_than_without_tls(authority: Authority) -> None:
    with socket.create_server((LOOPBACK, 0)) as silent:
        began = time.monotonic()
        with pytest.raises(redis.RedisError):
            UserCache(f"rediss://{LOOPBACK}:{silent.getsockname()[1]}/0?ssl_ca_certs={authority.file}", 0.3).watermark()
        assert time.monotonic() - began < 3


def test_a_rotated_password_is_read_anew(guarded: RedisServer, put_secret: Callable[[str, str], None]) -> None:
    put_secret("cache", guarded.url.replace("://", "://:old@"))
    cache = UserCache("secretsmanager:cache", 5)
    cache.put_names({"20": "Semyon Ryan"})
    with redis.Redis.from_url(guarded.url, password="old") as client:
        client.config_set("requirepass", "new")
        client.client_kill_filter(_type="normal", skipme=True)
    put_secret("cache", guarded.url.replace("://", "://:new@"))
    assert cache.look_up(["20"], []).names == {"20": "Semyon Ryan"}


def test_a_wrong_password_stays_an_error_that_does_not_tell_it(
    guarded: RedisServer, put_secret: Callable[[str, str], None]
) -> None:
    put_secret("cache", guarded.url.replace("://", "://:hush-hush@"))
    with pytest.raises(redis.AuthenticationError) as caught:
        UserCache("secretsmanager:cache").watermark()
    assert "hush-hush" not in str(caught.value)


def test_a_secret_that_cannot_be_read_is_an_error_of_redis_until_it_can(
    guarded: RedisServer, put_secret: Callable[[str, str], None]
) -> None:
    cache = UserCache("secretsmanager:cache", 5)
    with pytest.raises(redis.ConnectionError, match="the secret cache cannot be read"):
        cache.watermark()
    put_secret("cache", guarded.url.replace("://", "://:old@"))
    assert cache.watermark() is None


def _port(url: str) -> int:
    return int(url.rpartition(":")[2].partition("/")[0])
