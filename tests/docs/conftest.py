"""A home with every table of two days of a small shop, up to now."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from clickstream_assets.catch_up import CatchUp
from resources.lake import DirectoryLake
from streaming.settings import Settings, load_settings
from tests.clickstream_assets.conftest import (
    DeliveryTo,
    cache,
    catch_up,
    caught_up,
    definitions,
    instance,
    lake,
    shop,
)
from tests.landing import Delivery, delivery, land

__all__ = ["cache", "catch_up", "definitions", "instance", "lake", "shop"]

# No visit goes on over midnight.
NOW = (datetime.now(UTC) - timedelta(hours=1)).replace(minute=30)
LONG_AFTER = NOW + timedelta(days=2)
VISIT = ("Search", "ViewContent", "AddToCart", "Purchase")


@pytest.fixture
def platform(tmp_path: Path) -> Settings:
    start = NOW - timedelta(days=40)
    return load_settings({"CLICKSTREAM_HOME": str(tmp_path), "CLICKSTREAM_START": f"{start:%Y-%m-%d}"})


@pytest.fixture
def delivered() -> DeliveryTo:
    return DeliveryTo(LONG_AFTER)


@pytest.fixture
def home(
    catch_up: CatchUp,
    lake: DirectoryLake,
    platform: Settings,
    instance: dg.DagsterInstance,
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """User n comes every day, and takes n of the four steps of a visit."""
    monkeypatch.setenv("CLICKSTREAM_HOME", str(platform.home))
    unreadable = Delivery(b'{"bad": 1}', NOW, "f" * 32)
    land(lake, [*(event for days in range(2) for event in _day(NOW - timedelta(days=days))), unreadable], "one")
    catch_up.run(lake, caught_up(LONG_AFTER))
    assert catch_up.failed_runs == []
    return platform.home


def _day(end: datetime) -> list[Delivery]:
    return [
        delivery(moment, f"{end:%d}-{user}-{step}", moment, user_id=f"{user}", event_name=action)
        for user in range(1, 5)
        for step, action in enumerate(VISIT[:user])
        for moment in [end + timedelta(minutes=step)]
    ]
