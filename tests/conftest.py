"""Fixtures every test may use: real Redis and MariaDB servers, one set per test session, emptied for each test."""

import os
import signal
import sys
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing
from itertools import count
from urllib.parse import urlsplit

import pymysql
import pytest
import redis
from hypothesis import HealthCheck, settings

from streaming.edges.users_db import migrate
from streaming.runtime import servers
from streaming.runtime.supervisor import Supervisor
from tests.aws_account import account, create_streams
from tests.aws_standins.athena import Athena
from tests.aws_standins.redshift import RedshiftData
from tests.webhook_server import WebhookServer

_DATABASES = count(1)

# A busy machine is no fault. CI tries the same examples every time; whoever works on the code looks for new ones.
_IN_CI = os.environ.get("CI", "").lower() == "true"
settings.register_profile(
    "clickstream",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    derandomize=_IN_CI,
    database=None if _IN_CI else settings.get_profile("default").database,
)
settings.load_profile("clickstream")

# A shell that starts the tests in the background has them ignore Ctrl-C, and so would every process they start. Tests
# that are told to end stop what they started, too.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGTERM, signal.default_int_handler)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Reports travel between pytest-xdist's processes as UTF-8, which captured logs of bad input may not be."""
    report = yield
    report.sections = [(name, text.encode(errors="backslashreplace").decode()) for name, text in report.sections]
    return report


@pytest.fixture(scope="session")
def servers_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, str]]:
    """Running private servers, as REDIS_URL, CACHE_REDIS_URL and MYSQL_URL."""
    home = tmp_path_factory.mktemp("servers")
    plan = servers.plan_servers(home, {}, lambda text: print(text, file=sys.stderr))
    with Supervisor(home, print, stop_signals=()) as supervisor:
        supervisor.start(*plan.services)
        yield plan.environment


@pytest.fixture
def stream_redis_url(servers_environment: Mapping[str, str]) -> str:
    """An empty Redis as the stream wants it: append-only file, no eviction."""
    return _flushed(servers_environment["REDIS_URL"])


@pytest.fixture
def cache_redis_url(servers_environment: Mapping[str, str]) -> str:
    """An empty Redis for names, places and last access."""
    return _flushed(servers_environment["CACHE_REDIS_URL"])


@pytest.fixture
def mysql_url(servers_environment: Mapping[str, str]) -> Iterator[str]:
    """A fresh database with the schema and the demo customers."""
    server = servers_environment["MYSQL_URL"].rpartition("/")[0]
    database = f"test_{next(_DATABASES)}"
    url = f"{server}/{database}"
    migrate(url)
    yield url
    parts = urlsplit(url)
    with closing(pymysql.connect(host=parts.hostname, port=parts.port or 3306, user="root")) as connection:
        connection.cursor().execute(f"DROP DATABASE {database}")


@pytest.fixture
def free_port() -> int:
    """A TCP port of loopback that nothing listens on."""
    return servers.free_port()


@pytest.fixture
def webhook_server() -> Iterator[WebhookServer]:
    """A webhook that takes what it is sent, until told otherwise."""
    server = WebhookServer()
    yield server
    server.close()


def _flushed(url: str) -> str:
    with redis.Redis.from_url(url) as client:
        client.flushall()
    return url


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An empty account of an emulator (S3, Kinesis, Glue, CloudWatch, ...) over HTTP: its address, where clients look.

    It has no buckets, streams or databases; the region is us-east-1.
    """
    with account(monkeypatch) as address:
        yield address


@pytest.fixture
def kinesis(aws: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """That account with the streams of the stack `clickstream`, four shards each, which behave as the service's do."""
    create_streams(monkeypatch)
    return aws


@pytest.fixture
def redshift_data(aws: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[RedshiftData]:
    """Redshift Serverless of the stack `clickstream`, over that account's catalog and S3, where clients look."""
    with RedshiftData() as service:
        monkeypatch.setenv("AWS_ENDPOINT_URL_REDSHIFT_DATA", service.address)
        yield service


@pytest.fixture
def athena(aws: str, cache_redis_url: str, mysql_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Athena]:
    """Athena of the stack `clickstream`, over that account's catalog and S3, Redis and MySQL, where clients look."""
    with Athena(cache_redis_url, mysql_url) as service:
        monkeypatch.setenv("AWS_ENDPOINT_URL_ATHENA", service.address)
        yield service
