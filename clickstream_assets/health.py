"""The platform's health as a role: measured of the deployment, and told to what watches it there.

The conditions that are alerts are the same in both (`streaming.runtime.health.alerts`). On AWS what they are judged by
comes from the tables, from CloudWatch, and from the machine on which Dagster runs.
"""

from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from typing import Protocol

import dagster as dg

from clickstream_assets import pending
from clickstream_assets.enriched.seal import ARRIVALS
from resources.aws.cloudwatch import publish_alerts
from resources.aws.firehose import WINDOW, FirehoseDelivery, FirehoseProgress
from resources.aws.s3.lake import S3Lake
from resources.lake import Lake
from streaming.domain.layout import HOUR
from streaming.domain.tables import ENRICHED_EVENTS, EVENT_LEDGER, FAILED_EVENTS
from streaming.runtime.health.alerts import CONDITIONS
from streaming.runtime.health.ledger import SETTLED_WITHIN, LedgerFile, LedgerHealth, at_a_glance, read_ledger
from streaming.runtime.health.report import INDEX_FILE, Health, StreamHealth, health_here, measure
from streaming.settings import Settings, load_settings


class PlatformHealth(Protocol):
    """The health of a deployment."""

    def measure(self) -> Health:
        """Measure now.

        Raises:
            FiguresMissingError: nobody knows for now, neither that something is wrong nor that it is well again.
        """

    def publish(self, active: Collection[str]) -> None:
        """Tell the deployment's own monitoring which alerts are active, by name.

        Raises:
            botocore.exceptions.ClientError, botocore.exceptions.BotoCoreError: it does not take it.
        """


class LocalHealth:
    """The health of a platform on one machine, which Prometheus asks for itself."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def measure(self) -> Health:
        return measure(self._settings)

    def publish(self, active: Collection[str]) -> None: ...


class AwsHealth:
    """The health of a stack on AWS, whose alerts are metrics of CloudWatch."""

    def __init__(self, settings: Settings, lake: Lake, delivery: FirehoseDelivery) -> None:
        self._settings = settings
        self._lake = lake
        self._delivery = delivery

    def measure(self) -> Health:
        return measure_on_aws(self._settings, self._lake.snapshot(), self._delivery.told_progress())

    def publish(self, active: Collection[str]) -> None:
        told = (condition.name for condition in CONDITIONS if not condition.is_aws_own)
        publish_alerts(self._settings.stack, {name: name in active for name in told})


def measure_on_aws(settings: Settings, lake: Lake, progress: FirehoseProgress) -> Health:
    """Measure what the tables and CloudWatch tell.

    Args:
        lake: a snapshot, for it is asked about every hour.
    """
    at = datetime.now(UTC)
    ledger = _ledger_health(settings, lake, progress, at)
    return health_here(settings, at, _stream_health(progress, at), ledger)


def _stream_health(progress: FirehoseProgress, at: datetime) -> StreamHealth:
    """Delivery alone. It is late only while records come: in silence nobody may know how far it is."""
    behind = at - progress.caught_up_to if progress.caught_up_to else WINDOW
    age = behind if progress.records_come else timedelta(0)
    return StreamHealth({}, None, progress.caught_up_to, age.total_seconds(), [])


def _ledger_health(settings: Settings, lake: Lake, progress: FirehoseProgress, at: datetime) -> LedgerHealth:
    files = [
        LedgerFile(hour, lake.written_at(EVENT_LEDGER, hour), file)
        for hour in lake.hours(EVENT_LEDGER)
        if (file := lake.partition(EVENT_LEDGER, hour))
    ]
    ledger = read_ledger(files, settings.home / INDEX_FILE)
    return at_a_glance(ledger, overdue_hours(lake, progress, at), at, settings.alert_degraded_share)


def overdue_hours(lake: Lake, progress: FirehoseProgress, at: datetime) -> list[datetime]:
    """The closed hours, newest first, that should have been settled by now: they were over an hour before delivery's
    moment, and so was what came to them last, or rebuilt them."""
    if progress.caught_up_to is None:
        return []
    deadline = min(at, progress.caught_up_to) - (SETTLED_WITHIN - HOUR)
    prefixes = [*ARRIVALS, *lake.failed_prefixes()]

    def changed_at(hour: datetime) -> int:
        rebuilt = (lake.written_at(table, hour) for table in (ENRICHED_EVENTS, FAILED_EVENTS))
        return max(lake.changed_at(prefixes, hour), *rebuilt)

    waiting = (hour for hour in pending.arrival_hours(lake, progress).closed if hour + HOUR <= deadline)
    return sorted((hour for hour in waiting if changed_at(hour) < deadline.timestamp() * 1e9), reverse=True)


class LocalHealthResource(dg.ConfigurableResource[LocalHealth]):
    """The health of the platform that the settings are of."""

    def create_resource(self, context: dg.InitResourceContext) -> LocalHealth:
        return LocalHealth(load_settings())


class AwsHealthResource(dg.ConfigurableResource[AwsHealth]):
    """The health of the stack that the settings are of."""

    lake: dg.ResourceDependency[S3Lake]
    delivery: dg.ResourceDependency[FirehoseDelivery]

    def create_resource(self, context: dg.InitResourceContext) -> AwsHealth:
        return AwsHealth(load_settings(), self.lake, self.delivery)
