"""Every setting of the platform, read from the environment in one place.

Order of precedence: the environment, then the addresses that a running `./run up` wrote to
`<home>/services.json`, then the default. Nothing is read at import; call `load_settings()`.
"""

import json
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from urllib.parse import urlsplit

from streaming.domain.stack import Stack

ROOT = Path(__file__).resolve().parent.parent
SERVICES_FILE = "services.json"
REDIS_FORM = "redis://host:port/number"
MYSQL_FORM = "mysql://user:password@host:port/database"
HTTP_FORM = "http://host:port"
WEBHOOK_FORM = "https://host/path"
SECRET_SCHEME = "secretsmanager"  # noqa: S105 - no secret, but what names one
# Tables that Spark can write, too, and what writes them when nothing else is asked for.
ENGINES = {"flattened_events": "duckdb", "enriched_events": "duckdb"}
STACK_FORM = "(?!.*--)[a-z][a-z0-9-]{1,26}[a-z0-9]"  # Aurora and Redis are named so, and take no two hyphens


class SettingError(ValueError):
    """A setting has a value that cannot be used; the message names it and says what it takes."""


@dataclass(frozen=True)
class Settings:
    """The settings in force. Durations are seconds, sizes bytes, times UTC."""

    deployment: str
    stack: Stack
    home: Path
    lake: Path
    lake_bucket: str
    lake_copies_bytes: int
    start: datetime
    stream: str
    engines: Mapping[str, str]
    redis_url: str
    cache_redis_url: str
    mysql_url: str
    collector_url: str
    collector_host: str
    collector_port: int
    dagster_url: str
    dashboard_url: str
    metrics_url: str
    alert_webhook: str
    alert_delay_seconds: float
    alert_failed_share: float
    alert_degraded_share: float
    shards: int
    min_shards: int
    max_shards: int
    stream_backlog: int
    stream_retention_seconds: float
    delivery_buffer_bytes: int
    delivery_buffer_seconds: float
    delivery_transform_bytes: int
    function_timeout_seconds: float
    lease_seconds: float
    last_access_batch: int
    consumer_retries: int
    trust_payload_ip: bool
    trusted_proxies: tuple[str, ...]
    api_keys_file: Path | None
    requests_per_second: float
    geoip_database: Path | None
    ipinfo_token: str | None
    ipinfo_url: str
    lookup_deadline_seconds: float
    memory_limit_bytes: int
    statement_timeout_seconds: float


def load_settings(environ: Mapping[str, str] | None = None) -> Settings:
    """Read the settings in force.

    Raises:
        SettingError: a value does not parse; the message names the variable.
    """
    env = os.environ if environ is None else environ
    home = load_home(env)
    services = _running_services(home)

    def text(name: str, default: str) -> str:
        return env.get(name) or services.get(name) or default

    def number(name: str, default: float, minimum: float = 0, maximum: float = math.inf) -> float:
        value = text(name, str(default))
        try:
            parsed = float(value)
        except ValueError:
            parsed = math.nan
        if not minimum <= parsed <= maximum or math.isinf(parsed):
            bounds = f"of at least {minimum:.0f}" if math.isinf(maximum) else f"from {minimum:.0f} to {maximum:.0f}"
            raise SettingError(f"{name} must be a number {bounds}, not {value!r}")
        return parsed

    def url(name: str, default: str, form: str, *schemes: str) -> str:
        value = text(name, default)
        if value and not _is_url(value, schemes):
            raise SettingError(f"{name} must be {form}")  # without its value, which may hold a password
        return value

    def optional_path(name: str) -> Path | None:
        value = text(name, "")
        return _path(value) if value else None

    deployment = _one_of("CLICKSTREAM_DEPLOYMENT", text("CLICKSTREAM_DEPLOYMENT", "local"), ("local", "aws"))
    native_stream = "kinesis" if deployment == "aws" else "redis"
    return Settings(
        deployment=deployment,
        stack=_stack(text("CLICKSTREAM_STACK", "clickstream")),
        home=home,
        lake=_path(text("CLICKSTREAM_LAKE", str(home / "lake"))),
        lake_bucket=text("CLICKSTREAM_LAKE_BUCKET", ""),
        lake_copies_bytes=int(number("CLICKSTREAM_LAKE_COPIES_BYTES", 10_000_000_000, 1)),
        start=_start(text("CLICKSTREAM_START", "")),
        stream=_one_of("CLICKSTREAM_STREAM", text("CLICKSTREAM_STREAM", native_stream), ("redis", "kinesis")),
        engines=_engines(text("CLICKSTREAM_ENGINES", "")),
        redis_url=url("REDIS_URL", "", REDIS_FORM, "redis", "rediss", "unix", SECRET_SCHEME),
        cache_redis_url=url("CACHE_REDIS_URL", "", REDIS_FORM, "redis", "rediss", "unix", SECRET_SCHEME),
        mysql_url=url("MYSQL_URL", "", MYSQL_FORM, "mysql", SECRET_SCHEME),
        collector_url=url("COLLECTOR_URL", "http://127.0.0.1:8080", HTTP_FORM, "http", "https"),
        collector_host=text("COLLECTOR_HOST", "127.0.0.1"),
        collector_port=int(number("COLLECTOR_PORT", 8080, 1, 65_535)),
        dagster_url=url("DAGSTER_URL", "http://127.0.0.1:3000", HTTP_FORM, "http", "https"),
        dashboard_url=url("DASHBOARD_URL", "http://127.0.0.1:8050", HTTP_FORM, "http", "https"),
        metrics_url=url("METRICS_URL", "http://127.0.0.1:9464", HTTP_FORM, "http", "https"),
        alert_webhook=url("CLICKSTREAM_ALERT_WEBHOOK", "", WEBHOOK_FORM, "http", "https", SECRET_SCHEME),
        alert_delay_seconds=number("CLICKSTREAM_ALERT_DELAY_SECONDS", 300, 1),
        alert_failed_share=number("CLICKSTREAM_ALERT_FAILED_SHARE", 0.05, 0, 1),
        alert_degraded_share=number("CLICKSTREAM_ALERT_DEGRADED_SHARE", 0.01, 0, 1),
        shards=int(number("CLICKSTREAM_SHARDS", 4, 1)),
        min_shards=int(number("CLICKSTREAM_MIN_SHARDS", 1, 1)),
        max_shards=int(number("CLICKSTREAM_MAX_SHARDS", 32, 1)),
        stream_backlog=int(number("CLICKSTREAM_STREAM_BACKLOG", 500_000, 1)),
        stream_retention_seconds=number("CLICKSTREAM_STREAM_RETENTION_SECONDS", 3600),
        delivery_buffer_bytes=int(number("CLICKSTREAM_DELIVERY_BUFFER_BYTES", 3_000_000, 1)),
        delivery_buffer_seconds=number("CLICKSTREAM_DELIVERY_BUFFER_SECONDS", 60),
        delivery_transform_bytes=int(number("CLICKSTREAM_DELIVERY_TRANSFORM_BYTES", 1_000_000, 1)),
        function_timeout_seconds=number("CLICKSTREAM_FUNCTION_TIMEOUT_SECONDS", 60, 1),
        lease_seconds=number("CLICKSTREAM_LEASE_SECONDS", 6, 1),
        last_access_batch=int(number("CLICKSTREAM_LAST_ACCESS_BATCH", 10, 1)),
        consumer_retries=int(number("CLICKSTREAM_CONSUMER_RETRIES", 10)),
        trust_payload_ip=_switch("CLICKSTREAM_TRUST_PAYLOAD_IP", text("CLICKSTREAM_TRUST_PAYLOAD_IP", "off")),
        trusted_proxies=tuple(p.strip() for p in text("CLICKSTREAM_TRUSTED_PROXIES", "").split(",") if p.strip()),
        api_keys_file=optional_path("CLICKSTREAM_API_KEYS"),
        requests_per_second=number("CLICKSTREAM_REQUESTS_PER_SECOND", 0),
        geoip_database=optional_path("GEOIP_DATABASE"),
        ipinfo_token=text("IPINFO_TOKEN", "") or None,
        ipinfo_url=url("IPINFO_URL", "https://ipinfo.io", HTTP_FORM, "http", "https").rstrip("/"),
        lookup_deadline_seconds=number("CLICKSTREAM_LOOKUP_DEADLINE_SECONDS", 0.5),
        memory_limit_bytes=int(number("CLICKSTREAM_MEMORY_LIMIT_BYTES", 450_000_000, 150_000_000)),
        statement_timeout_seconds=number("CLICKSTREAM_STATEMENT_TIMEOUT_SECONDS", 1800, 1),
    )


def load_home(environ: Mapping[str, str] | None = None) -> Path:
    """The platform's folder: all that those need who only look at what runs, or end it."""
    env = os.environ if environ is None else environ
    return _path(env.get("CLICKSTREAM_HOME") or ".clickstream")


def make_home(home: Path) -> None:
    """Make the platform's folder where it is not there yet.

    Raises:
        SettingError: it cannot be made, or not be written to.
    """
    try:
        home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingError(f"CLICKSTREAM_HOME: {home} cannot be made: {error.strerror}") from None
    if not os.access(home, os.W_OK):
        raise SettingError(f"CLICKSTREAM_HOME: {home} cannot be written to")


def default_start(today: date) -> datetime:
    """The first day of last year, 00:00 UTC."""
    return datetime(today.year - 1, 1, 1, tzinfo=UTC)


def _start(value: str) -> datetime:
    if not value:
        return default_start(datetime.now(UTC).date())
    try:
        return datetime.combine(date.fromisoformat(value), datetime.min.time(), tzinfo=UTC)
    except ValueError:
        raise SettingError(f"CLICKSTREAM_START must be a day such as 2025-01-01, not {value!r}") from None


def _stack(value: str) -> Stack:
    if not re.fullmatch(STACK_FORM, value):
        raise SettingError(f"CLICKSTREAM_STACK must be 3 to 28 of a-z, 0-9 and -, a letter first, not {value!r}")
    return Stack(value)


def _engines(value: str) -> Mapping[str, str]:
    """The engine of every table that has a choice."""
    pairs = (pair.strip().partition("=") for pair in value.split(",") if pair.strip())
    asked = {table: engine for table, _, engine in pairs}
    if not ENGINES.keys() >= asked.keys() or not set(asked.values()) <= {"duckdb", "spark"}:
        tables = " or ".join(ENGINES)
        raise SettingError(f"CLICKSTREAM_ENGINES must be like flattened_events=spark, for {tables}, not {value!r}")
    return ENGINES | asked


def _path(value: str) -> Path:
    return (ROOT / Path(value).expanduser()).resolve()


def _one_of(name: str, value: str, allowed: tuple[str, ...]) -> str:
    if value not in allowed:
        raise SettingError(f"{name} must be one of {', '.join(allowed)}, not {value!r}")
    return value


def _switch(name: str, value: str) -> bool:
    if value.lower() in ("1", "true", "yes", "on"):
        return True
    if value.lower() in ("0", "false", "no", "off"):
        return False
    raise SettingError(f"{name} must be 1, true, yes or on, or 0, false, no or off, not {value!r}")


def _is_url(value: str, schemes: tuple[str, ...]) -> bool:
    """Whether it has one of these schemes and all that a client needs: a host, a socket's path, a database's name."""
    try:
        parts = urlsplit(value)
        port_is_good = parts.port is None or parts.port > 0
    except ValueError:
        return False
    has_path = bool(parts.path.strip("/"))
    has_place = {"unix": has_path, SECRET_SCHEME: has_path, "mysql": bool(parts.hostname) and has_path}
    return parts.scheme in schemes and port_is_good and has_place.get(parts.scheme, bool(parts.hostname))


def _running_services(home: Path) -> dict[str, str]:
    """What the running supervisor wrote: variable name to address; empty when nothing runs."""
    try:
        written: dict[str, str] = json.loads((home / SERVICES_FILE).read_text())["environment"]
    except (FileNotFoundError, NotADirectoryError):
        return {}
    return written
