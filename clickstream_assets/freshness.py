"""Freshness, in one place: how old a table may be before its asset turns yellow or red."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import dagster as dg

from clickstream_assets import pending
from resources.delivery import Delivery
from resources.lake import Lake
from streaming.runtime.health.ledger import SETTLED_WITHIN

# Delivery flushes within minutes, and open hours are balanced and flattened every five; nights are quiet.
LANDING = dg.FreshnessPolicy.time_window(fail_window=timedelta(hours=6), warn_window=timedelta(hours=1))
HOURLY = dg.FreshnessPolicy.time_window(fail_window=timedelta(hours=6), warn_window=timedelta(hours=2))
DAILY = dg.FreshnessPolicy.time_window(fail_window=timedelta(hours=26), warn_window=timedelta(hours=12))
USER_NAMES = dg.FreshnessPolicy.time_window(fail_window=timedelta(minutes=30))


@dg.asset_check(asset="event_ledger")
def latest_hours_are_present(lake: dg.ResourceParam[Lake], delivery: dg.ResourceParam[Delivery]) -> dg.AssetCheckResult:
    """Every hour that began two hours ago, and that delivery is done with, is sealed and balanced.

    A freshness policy looks at the latest materialisation alone, which may be a backfill of long ago.
    """
    waiting = overdue(pending.arrival_hours(lake, delivery.progress()).closed, datetime.now(UTC))
    return dg.AssetCheckResult(
        passed=not waiting,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"overdue_hours": [f"{hour:%Y-%m-%d %H:00}" for hour in waiting]},
    )


def overdue(stale: Sequence[datetime], now: datetime) -> list[datetime]:
    """Those closed hours that should have been settled by now: they began so long ago."""
    return [hour for hour in stale if hour + SETTLED_WITHIN < now]
