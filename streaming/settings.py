"""Every setting of the platform, read from the environment in one place.

Order of precedence: the environment, then the addresses that a running `./run up` wrote to
`<home>/services.json`, then the default. Nothing is read at import; call `load_settings()`.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SERVICES_FILE = "services.json"


class SettingError(ValueError):
    """A setting has a value that cannot be used; the message names it and says what it takes."""


@dataclass(frozen=True)
class Settings:
    """The settings in force. Durations are seconds, sizes bytes, times UTC."""

    deployment: str
    home: Path
    lake: Path
    start: datetime
    redis_url: str
    cache_redis_url: str
    mysql_url: str
    collector_url: str
    collector_host: str
    collector_port: int
    dagster_url: str
    shards: int
    stream_backlog: int
    stream_retention_seconds: float
    delivery_buffer_bytes: int
    delivery_buffer_seconds: float
    delivery_transform_bytes: int
    function_timeout_seconds: float
    lease_seconds: float
    last_access_batch: int
    trust_payload_ip: bool
    trusted_proxies: tuple[str, ...]
    api_keys_file: Path | None
    geoip_database: Path | None
    ipinfo_token: str | None
    lookup_deadline_seconds: float
    memory_limit_bytes: int


def load_settings(environ: Mapping[str, str] | None = None) -> Settings:
    """Read the settings in force.

    Raises:
        SettingError: a value does not parse; the message names the variable.
    """
    env = os.environ if environ is None else environ
    home = _path(env.get("CLICKSTREAM_HOME", ".clickstream"))
    services = _running_services(home)

    def text(name: str, default: str) -> str:
        return env.get(name) or services.get(name) or default

    def number(name: str, default: float, minimum: float = 0) -> float:
        value = text(name, str(default))
        try:
            parsed = float(value)
        except ValueError:
            parsed = minimum - 1
        if not minimum <= parsed < float("inf"):
            raise SettingError(f"{name} must be a number of at least {minimum:g}, not {value!r}")
        return parsed

    def optional_path(name: str) -> Path | None:
        value = text(name, "")
        return _path(value) if value else None

    return Settings(
        deployment=_one_of("CLICKSTREAM_DEPLOYMENT", text("CLICKSTREAM_DEPLOYMENT", "local"), ("local", "aws")),
        home=home,
        lake=_path(text("CLICKSTREAM_LAKE", str(home / "lake"))),
        start=_start(text("CLICKSTREAM_START", "")),
        redis_url=text("REDIS_URL", ""),
        cache_redis_url=text("CACHE_REDIS_URL", ""),
        mysql_url=text("MYSQL_URL", ""),
        collector_url=text("COLLECTOR_URL", "http://127.0.0.1:8080"),
        collector_host=text("COLLECTOR_HOST", "127.0.0.1"),
        collector_port=int(number("COLLECTOR_PORT", 8080, 1)),
        dagster_url=text("DAGSTER_URL", "http://127.0.0.1:3000"),
        shards=int(number("CLICKSTREAM_SHARDS", 4, 1)),
        stream_backlog=int(number("CLICKSTREAM_STREAM_BACKLOG", 500_000, 1)),
        stream_retention_seconds=number("CLICKSTREAM_STREAM_RETENTION_SECONDS", 3600),
        delivery_buffer_bytes=int(number("CLICKSTREAM_DELIVERY_BUFFER_BYTES", 3_000_000, 1)),
        delivery_buffer_seconds=number("CLICKSTREAM_DELIVERY_BUFFER_SECONDS", 60),
        delivery_transform_bytes=int(number("CLICKSTREAM_DELIVERY_TRANSFORM_BYTES", 1_000_000, 1)),
        function_timeout_seconds=number("CLICKSTREAM_FUNCTION_TIMEOUT_SECONDS", 60, 1),
        lease_seconds=number("CLICKSTREAM_LEASE_SECONDS", 6, 1),
        last_access_batch=int(number("CLICKSTREAM_LAST_ACCESS_BATCH", 10, 1)),
        trust_payload_ip=text("CLICKSTREAM_TRUST_PAYLOAD_IP", "").lower() in ("1", "true", "yes"),
        trusted_proxies=tuple(p.strip() for p in text("CLICKSTREAM_TRUSTED_PROXIES", "").split(",") if p.strip()),
        api_keys_file=optional_path("CLICKSTREAM_API_KEYS"),
        geoip_database=optional_path("GEOIP_DATABASE"),
        ipinfo_token=text("IPINFO_TOKEN", "") or None,
        lookup_deadline_seconds=number("CLICKSTREAM_LOOKUP_DEADLINE_SECONDS", 0.5),
        memory_limit_bytes=int(number("CLICKSTREAM_MEMORY_LIMIT_BYTES", 600_000_000, 64_000_000)),
    )


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


def _path(value: str) -> Path:
    return (ROOT / Path(value).expanduser()).resolve()


def _one_of(name: str, value: str, allowed: tuple[str, ...]) -> str:
    if value not in allowed:
        raise SettingError(f"{name} must be one of {', '.join(allowed)}, not {value!r}")
    return value


def _running_services(home: Path) -> dict[str, str]:
    """What the running supervisor wrote: variable name to address; empty when nothing runs."""
    try:
        written: dict[str, str] = json.loads((home / SERVICES_FILE).read_text())["environment"]
    except FileNotFoundError:
        return {}
    return written
