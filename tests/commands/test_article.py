"""The article's examples, and every kind of bad event, through the whole platform as a user runs it."""

import json
import subprocess
import sys
from base64 import b64encode
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from streaming.edges.event_stream import EVENTS
from streaming.edges.streams import open_event_stream
from streaming.runtime.supervisor import running_system
from streaming.runtime.traffic.bad_events import SPOILERS
from streaming.settings import Settings, load_settings
from tests.commands.conftest import wait_until
from tests.streaming.domain.strategies import ARTICLE_EVENT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

SENT = {"Search": 3, "ViewContent": 2, "AddToCart": 1, "Purchase": 1}


@pytest.fixture
def environment(environment: Mapping[str, str]) -> Mapping[str, str]:
    """The article's events are of July 2021."""
    return {
        **environment,
        "CLICKSTREAM_START": "2021-07-01",
        "CLICKSTREAM_TRUST_PAYLOAD_IP": "1",
        "CLICKSTREAM_DELIVERY_BUFFER_SECONDS": "1",
    }


def test_the_articles_events_and_every_kind_of_bad_one(
    start: Callable[..., subprocess.Popen[str]], home: Path, environment: Mapping[str, str]
) -> None:
    up = start("up")
    wait_until(lambda: "dagster-daemon" in (running_system(home) or {}).get("processes", {}), up)
    settings = load_settings({"CLICKSTREAM_HOME": str(home)})
    added = start("customers", "add", "--id", "5001", "--name", "Ada Lovelace")
    assert added.wait(30) == 0, added.communicate()[0]

    events = [_event(f"{name}-{n}", event_name=name) for name, count in SENT.items() for n in range(count)]
    events.append(_event("signed-up", user_id="5001"))
    accepted = httpx.post(f"{settings.collector_url}/events", json=[ARTICLE_EVENT, *events])
    assert (accepted.status_code, accepted.json()["accepted"]) == (200, len(events) + 1)
    _refused_over_http(settings.collector_url)
    _put_on_the_stream(settings)
    wait_until(lambda: not _behind(settings), up)
    summary = _catch_up(environment, home)

    assert summary["balanced"]
    assert (summary["raw"], summary["enriched"], summary["failed"]) == (
        len(events) + 1 + len(SPOILERS),
        len(events) + 1,
        len(SPOILERS),
    )
    _expect_enriched_example(start)
    _expect_failed_events(start)
    _expect_unload(Path(summary["lake"]))


def _expect_enriched_example(start: Callable[..., subprocess.Popen[str]]) -> None:
    columns = "name, country, region, city, additional_data.price"
    [row] = _query(start, f"SELECT {columns} FROM enriched_events WHERE click_id = '{ARTICLE_EVENT['click_id']}'")
    assert row == {
        "name": "Semyon Ryan", "country": "US", "region": "California", "city": "Riverside", "price": "694.83",
    }  # fmt: skip
    assert _query(start, "SELECT name FROM enriched_events WHERE user_id = '5001'") == [{"name": "Ada Lovelace"}]
    counts = _query(start, 'SELECT "event_name", count(*) AS n FROM flattened_events GROUP BY "event_name"')
    assert Counter({row["event_name"]: row["n"] for row in counts}) == Counter(SENT) + Counter(AddToCart=2)


def _expect_failed_events(start: Callable[..., subprocess.Popen[str]]) -> None:
    failed = _query(start, "SELECT type, base64(raw_data) AS data FROM failed_events")
    kept = {row["data"]: row["type"] for row in failed}
    assert kept == {b64encode(bad).decode(): kind for kind, bad in _bad_events()}


def _expect_unload(lake: Path) -> None:
    unloaded = lake / "aggregated" / "events_by_country" / "date=2021-07-12" / "events_by_country.csv"
    header, *lines = unloaded.read_text().splitlines()
    assert header.split("|")[:3] == ["country", "event_name", "events"]
    counts = {line.split("|")[1]: int(line.split("|")[2]) for line in lines}
    assert Counter(counts) == Counter(SENT) + Counter(AddToCart=2)
    assert {line.split("|")[0] for line in lines} == {"US"}


def _refused_over_http(url: str) -> None:
    for kind, bad in _bad_events():
        answer = httpx.post(f"{url}/events", content=bad)
        assert answer.status_code == 400, answer.text
        assert answer.json()["errors"][0]["type"] == kind


def _put_on_the_stream(settings: Settings) -> None:
    stream = open_event_stream(settings, EVENTS)
    results = stream.put_records([("20", bad) for _, bad in _bad_events()])
    assert all(result.error_code is None for result in results)


def _bad_events() -> list[tuple[str, bytes]]:
    event = json.dumps(ARTICLE_EVENT, separators=(",", ":")).encode()
    spoiled = [(spoiler.type.value, spoiler.spoil(event)) for spoiler in SPOILERS]
    assert len({bad for _, bad in spoiled}) == len(SPOILERS)
    return spoiled


def _event(click_id: str, **changes: Any) -> dict[str, Any]:
    return ARTICLE_EVENT | {"click_id": click_id} | changes


def _behind(settings: Settings) -> int:
    return sum(shard.records or 0 for shard in open_event_stream(settings, EVENTS).backlog().values())


def _catch_up(environment: Mapping[str, str], home: Path) -> dict[str, Any]:
    finished = subprocess.run(
        [sys.executable, "-P", "-m", "commands", "materialize"],
        env=environment, capture_output=True, text=True, timeout=120,
        check=False,
    )  # fmt: skip
    assert finished.returncode == 0, finished.stderr
    lines = finished.stdout.splitlines()
    summary: dict[str, Any] = json.loads(lines[-1])
    return summary | {"lake": str(home / "lake")}


def _query(start: Callable[..., subprocess.Popen[str]], sql: str) -> list[dict[str, Any]]:
    output, _ = (query := start("query", "--format", "json", sql)).communicate(timeout=60)
    assert query.returncode == 0, output
    return [json.loads(line) for line in output.splitlines() if line.startswith("{")]
