"""The platform's processes on one machine: what `up` and `demo` start, with which addresses, in which order."""

import fcntl
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from urllib.error import URLError
from urllib.parse import urlsplit
from urllib.request import urlopen

import pymysql

from commands.aws.errors import NO_CREDENTIALS
from commands.environments import install_engines
from streaming.edges.aws import has_credentials, region
from streaming.edges.geo.database import GeoDatabaseError, ensure_database
from streaming.edges.geo.provider import open_geo
from streaming.edges.users_db import migrate
from streaming.handlers import data_update
from streaming.runtime.collector.api_keys import ApiKeys
from streaming.runtime.collector.client_address import ClientAddress
from streaming.runtime.servers import LOOPBACK, LOOPBACK_NAMES, accepts_connections, free_port, plan_servers
from streaming.runtime.supervisor import Service, Supervisor, SupervisorError
from streaming.settings import ROOT, SettingError, Settings, load_settings, make_home

CODE_LOCATION = "clickstream_assets.definitions"
# What the template's outputs give a platform on AWS, and no default can.
ADDRESSES = {
    "CLICKSTREAM_LAKE_BUCKET": "the bucket of the lake",
    "AWS_REGION": "the region of the stack",
    "CACHE_REDIS_URL": "the cache of users and places, or secretsmanager:<id>",
    "MYSQL_URL": "the customers' database, or secretsmanager:<id>",
}


def platform_settings() -> Settings:
    """The settings of a platform that this machine is to run, or to run on AWS's services; its home is made.

    Raises:
        SettingError: a process would fail on one of them, or every event would.
    """
    settings = load_settings()
    if settings.start > datetime.now(UTC):
        raise SettingError(f"CLICKSTREAM_START must not be in the future, as {settings.start:%Y-%m-%d} is")
    if settings.deployment == "aws":
        _expect(settings, *ADDRESSES)
    elif settings.stream == "kinesis":
        _expect(settings, "AWS_REGION")
    if (settings.deployment == "aws" or settings.stream == "kinesis") and not has_credentials():
        raise SettingError(NO_CREDENTIALS)
    ApiKeys(settings.api_keys_file)
    ClientAddress(settings.trusted_proxies)
    make_home(settings.home)
    return settings


def local_settings() -> Settings:
    """The settings of a platform whose every part this machine is to run.

    Raises:
        SettingError: as `platform_settings`, or it runs on AWS.
    """
    settings = load_settings()
    if settings.deployment != "local":
        raise SettingError(
            "CLICKSTREAM_DEPLOYMENT is aws, and this needs servers of its own; on AWS, ./run send sends traffic to "
            "COLLECTOR_URL and ./run materialize brings the tables up to date"
        )
    if settings.stream != "redis":
        raise SettingError(f"CLICKSTREAM_STREAM: {settings.stream} does not count the records that wait")
    return platform_settings()


def table_settings() -> Settings:
    """The settings of a platform whose tables are read, whether it runs or not.

    Raises:
        SettingError: it runs on AWS, and what its lake needs is not set.
    """
    settings = load_settings()
    if settings.deployment == "aws":
        _expect(settings, "CLICKSTREAM_LAKE_BUCKET", "AWS_REGION")
    return settings


def running_settings() -> Settings:
    """The settings of a platform that runs here or on AWS, for commands that need its servers.

    Raises:
        SettingError: as `platform_settings`.
        SupervisorError: none runs.
    """
    settings = platform_settings()
    if settings.deployment == "local" and not settings.redis_url:
        raise SupervisorError(f"nothing runs in {settings.home}; start the platform with ./run up")
    return settings


def geo_environment(home: Path, say: Callable[[str], None]) -> dict[str, str]:
    """Where places come from: what the user set, else a free city-level database, else nowhere, and said so.

    Raises:
        SettingError: what the user set cannot be used.
    """
    settings = load_settings()
    if settings.geoip_database or settings.ipinfo_token:
        open_geo(settings)  # in a worker it would fail every event
        return {}
    try:
        return {"GEOIP_DATABASE": str(ensure_database(home, say))}
    except GeoDatabaseError as error:
        say(f"events will have no place: {error}")
        return {}


def export_home(supervisor: Supervisor, home: Path) -> None:
    """Have all processes, and other commands, work in this home and judge events by the same first day."""
    supervisor.export({"CLICKSTREAM_HOME": str(home), "CLICKSTREAM_START": f"{load_settings().start:%Y-%m-%d}"})


def start_servers(supervisor: Supervisor, home: Path, say: Callable[[str], None]) -> tuple[str, ...]:
    """Start the Redis instances and MariaDB, bring the schema up to date, and fill the cache with customers' names.

    Returns the names of what was started: those who use it start after it, and stop before it.
    """
    export_home(supervisor, home)
    servers = plan_servers(home, os.environ, say)
    supervisor.start(*servers.services)
    supervisor.export(servers.environment)
    try:
        migrate(servers.environment["MYSQL_URL"])
    except pymysql.MySQLError as error:
        raise SupervisorError(f"the schema could not be brought to MYSQL_URL: {error}") from error
    data_update.lambda_handler({}, None)
    return tuple(service.name for service in servers.services)


def start_stream(supervisor: Supervisor, servers: tuple[str, ...], say: Callable[[str], None]) -> None:
    """Start the workers, the collector, and what serves the metrics of all."""
    settings = load_settings()
    port = _port("the collector", settings.collector_port, say)
    metrics_port = _port("the metrics endpoint", urlsplit(settings.metrics_url).port or 9464, say)
    ports = {"delivery": str(_claimed_port(9465)), "consumers": str(_claimed_port(9466))}
    url = f"http://{LOOPBACK}:{port}"
    supervisor.export({"COLLECTOR_HOST": LOOPBACK, "COLLECTOR_PORT": str(port), "COLLECTOR_URL": url})
    supervisor.export({"METRICS_URL": f"http://{LOOPBACK}:{metrics_port}"})
    python: list[str | Path] = [sys.executable, "-m"]
    worker, port_option = [*python, "streaming.runtime.worker"], "--metrics-port"
    metrics = [*python, "streaming.runtime.health", "--port", str(metrics_port), f"collector={url}/metrics"]
    metrics += (f"{role}=http://{LOOPBACK}:{at}/metrics" for role, at in ports.items())
    supervisor.start(
        Service("delivery", [*worker, "delivery", port_option, ports["delivery"]], after=servers, grace_seconds=60),
        Service("consumers", [*worker, "consumers", port_option, ports["consumers"]], after=servers, grace_seconds=30),
        # After the workers, so that it stops before them and they flush what it took in.
        Service(
            "collector",
            [*python, "streaming.runtime.collector"],
            ready=lambda: _answers(f"{url}/health"),
            after=("delivery", "consumers"),
        ),
        Service("metrics", metrics, ready=lambda: accepts_connections(metrics_port)),
    )


def start_dashboard(supervisor: Supervisor, say: Callable[[str], None]) -> None:
    """Start what serves the dashboard."""
    port, address = _page("the dashboard", load_settings().dashboard_url, 8050, say)
    supervisor.export({"DASHBOARD_URL": address})
    command: list[str | Path] = [sys.executable, "-m", "commands.pages.dashboard", "--port", str(port)]
    supervisor.start(Service("dashboard", command, ready=lambda: accepts_connections(port)))


def start_dagster(supervisor: Supervisor, home: Path, servers: tuple[str, ...], say: Callable[[str], None]) -> None:
    """Start the code server and the web server."""
    install_engines(load_settings(), say)
    environment = dagster_environment(home)
    folder = Path(environment["DAGSTER_HOME"])
    port, address = _page("Dagster", load_settings().dagster_url, 3000, say)
    code_port = free_port()
    workspace = folder / "workspace.yaml"
    workspace.write_text(
        "# Written by ./run: the code server it keeps running.\n"
        "load_from:\n"
        f"  - grpc_server: {{host: {LOOPBACK}, port: {code_port}, location_name: clickstream}}\n"
    )
    supervisor.export({**environment, "DAGSTER_URL": address})
    python: list[str | Path] = [sys.executable, "-m"]
    supervisor.start(
        Service(
            "dagster-code",
            [*python, "dagster", "api", "grpc", "-m", CODE_LOCATION, "-h", LOOPBACK, "-p", str(code_port)],
            ready=lambda: accepts_connections(code_port),
            after=servers,
        ),
        Service(
            "dagster-webserver",
            [*python, "commands.pages.dagster_ui", "-h", LOOPBACK, "-p", str(port), "-w", workspace],
            ready=lambda: _answers(f"http://{LOOPBACK}:{port}/server_info"),
            after=("dagster-code",),
        ),
    )


def start_schedules(supervisor: Supervisor, home: Path) -> None:
    """Start Dagster's daemon, which runs schedules, sensors and queued runs."""
    workspace = home / "dagster" / "workspace.yaml"
    command: list[str | Path] = [sys.executable, "-m", "dagster._daemon", "run", "-w", workspace]
    supervisor.start(Service("dagster-daemon", command, ready=lambda: True, after=("dagster-code",), grace_seconds=30))


def dagster_environment(home: Path) -> dict[str, str]:
    """What Dagster's processes need: the folder they keep their state in, with the project's dagster.yaml."""
    folder = home / "dagster"
    folder.mkdir(parents=True, exist_ok=True)
    draft = folder / f".dagster.yaml.{os.getpid()}"  # another process may be reading the one in place
    shutil.copyfile(ROOT / "dagster.yaml", draft)
    draft.replace(folder / "dagster.yaml")
    return {"DAGSTER_HOME": str(folder), "DAGSTER_EVENT_BATCH_SIZE": "1000"}


def _expect(settings: Settings, *names: str) -> None:
    """Have these of the addresses been set.

    Raises:
        SettingError: one is not; the message names it.
    """
    values = {
        "CLICKSTREAM_LAKE_BUCKET": settings.lake_bucket,
        "AWS_REGION": region(),
        "CACHE_REDIS_URL": settings.cache_redis_url,
        "MYSQL_URL": settings.mysql_url,
    }
    if missing := [f"{name} ({ADDRESSES[name]})" for name in names if not values[name]]:
        reason = "CLICKSTREAM_DEPLOYMENT is aws" if settings.deployment == "aws" else "CLICKSTREAM_STREAM is kinesis"
        raise SettingError(f"{reason}, which needs {', '.join(missing)}")


def _page(whose: str, named: str, preferred: int, say: Callable[[str], None]) -> tuple[int, str]:
    """The port of what serves pages, and the address that people open: a proxy's, where that is what is named."""
    is_proxied = urlsplit(named).hostname not in LOOPBACK_NAMES
    port = _port(whose, preferred if is_proxied else urlsplit(named).port or preferred, say)
    return port, named if is_proxied else f"http://{LOOPBACK}:{port}"


def _port(whose: str, preferred: int, say: Callable[[str], None]) -> int:
    port = _claimed_port(preferred)
    if port != preferred:
        say(f"port {preferred} is taken; {whose} is on {port}")
    return port


def _claimed_port(preferred: int) -> int:
    """The preferred port where it is free and no other platform of this user is about to listen on it, else another.

    The claim is a lock that ends with this process: between the choice of a port and a service that listens on it
    lie seconds.
    """
    lock = os.open(
        Path(tempfile.gettempdir()) / f"clickstream-{os.getuid()}-port-{preferred}", os.O_CREAT | os.O_RDWR, 0o600
    )
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return free_port()
    return free_port(preferred)


def _answers(url: str) -> bool:
    try:
        with urlopen(url, timeout=2) as answer:  # noqa: S310 - loopback, http
            return bool(answer.status == 200)
    except (URLError, TimeoutError, ConnectionError):
        return False
