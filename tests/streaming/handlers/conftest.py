"""The handlers as a deployment has them: settings in the environment, clients built when first used."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from streaming.handlers import data_update, enrichment, high_intent, last_access, records

_KEPT = (records.event_judge, enrichment._look_ups, last_access._edges, data_update._edges, high_intent._output)


@pytest.fixture
def event() -> Callable[[str], dict[str, Any]]:
    """Reads an event by the name of its file in events/."""

    def read(name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((Path(__file__).parent / "events" / f"{name}.json").read_text())
        return found

    return read


@pytest.fixture
def deployment(
    cache_redis_url: str, stream_redis_url: str, mysql_url: str, geo_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """Empty servers, the demo customers, and a start early enough for the article's events of 2021."""
    monkeypatch.setenv("CACHE_REDIS_URL", cache_redis_url)
    monkeypatch.setenv("REDIS_URL", stream_redis_url)
    monkeypatch.setenv("MYSQL_URL", mysql_url)
    monkeypatch.setenv("GEOIP_DATABASE", str(geo_folder))
    monkeypatch.setenv("CLICKSTREAM_START", "2021-01-01")
    monkeypatch.delenv("IPINFO_TOKEN", raising=False)
    _forget()
    yield
    _forget()


def _forget() -> None:
    for kept in _KEPT:
        kept.cache_clear()
