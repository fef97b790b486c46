"""The sensor that tells people: each alert when it begins and when it ends, and each run that failed, by a webhook.

What is wrong is decided in `streaming.runtime.health.alerts`, for `./run status` and Prometheus too; on AWS it is
published to CloudWatch, whose alarms tell it too, and ring where nothing is published any more. The cursor holds
what was active at the last tick and what is still to be told, so that neither a restart nor a webhook that is away
loses anything; a receiver that took a notice and did not say so gets it again.
"""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any, Literal

import dagster as dg
import msgspec
from botocore.exceptions import BotoCoreError, ClientError
from msgspec.structs import replace

from clickstream_assets.health import PlatformHealth
from streaming.edges import webhook
from streaming.edges.metrics import FiguresMissingError
from streaming.runtime.health.alerts import Alert, Severity, active_alerts
from streaming.settings import Settings

RUN_FAILED = "run_failed"
MOST_POSTS = 10
MOST_RUNS = 100


class Notice(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is told: an alert that began, or ended. A failed run is an alert that has no end."""

    alert: str
    status: Literal["firing", "resolved"]
    severity: Severity
    summary: str
    advice: str
    began_at: datetime
    ended_at: datetime | None = None

    @property
    def text(self) -> str:
        """One line for people."""
        if self.ended_at:
            return f"RESOLVED {self.alert}, which began {self.began_at:%Y-%m-%d %H:%M} UTC: {self.summary}"
        return f"{self.severity.upper()} {self.alert}: {self.summary}. {self.advice}"


class AlertCursor(msgspec.Struct, frozen=True):
    """Active alerts by name, notices that the webhook has not yet taken, and the last failed run seen."""

    active: dict[str, Notice]
    outbox: list[Notice]
    last_failure: int

    def after(
        self, alerts: Iterable[Alert], failures: Iterable[Notice], last_failure: int, now: datetime
    ) -> "AlertCursor":
        """The cursor with what has begun and ended since."""
        firing = {alert.name: self.active.get(alert.name) or _begun(alert, now) for alert in alerts}
        begun = [notice for name, notice in firing.items() if name not in self.active]
        ended = [
            replace(notice, status="resolved", ended_at=now)
            for name, notice in self.active.items()
            if name not in firing
        ]
        return replace(self, active=firing, outbox=[*self.outbox, *ended, *begun, *failures], last_failure=last_failure)


def alert_sensor(settings: Settings) -> dg.SensorDefinition:
    """The sensor, running by default."""

    @dg.sensor(minimum_interval_seconds=60, default_status=dg.DefaultSensorStatus.RUNNING)
    def send_alerts(
        context: dg.SensorEvaluationContext, health: dg.ResourceParam[PlatformHealth]
    ) -> dg.SensorResult | dg.SkipReason:
        """What a person on call must know. The reason it gives for skipping lists the active alerts."""
        cursor = _read(context)
        failures = list(_failed_runs(context.instance, cursor.last_failure, settings))
        try:
            alerts = active_alerts(health.measure(), settings)
        except FiguresMissingError as error:
            return dg.SkipReason(f"what is wrong, nobody knows for now, and nothing is told: {error}")
        last_failure = failures[-1][0] if failures else cursor.last_failure
        changed = cursor.after(alerts, [notice for _, notice in failures], last_failure, datetime.now(UTC))
        for notice in changed.outbox[len(cursor.outbox) :]:
            context.log.warning(notice.text)
        left = _told(context, settings.alert_webhook, changed)
        _publish(context, health, alerts)
        active = "; ".join(f"{alert.name}: {alert.summary}" for alert in alerts) or "no alert"
        return dg.SensorResult(
            skip_reason=dg.SkipReason(active),
            cursor=msgspec.json.encode(replace(changed, outbox=left)).decode(),
        )

    return send_alerts


def _begun(alert: Alert, now: datetime) -> Notice:
    return Notice(alert.name, "firing", alert.severity, alert.summary, alert.advice, now)


def _read(context: dg.SensorEvaluationContext) -> AlertCursor:
    if context.cursor:
        return msgspec.json.decode(context.cursor, type=AlertCursor)
    newest = context.instance.fetch_run_status_changes(dg.DagsterEventType.RUN_FAILURE, limit=1).records
    return AlertCursor({}, [], newest[0].storage_id if newest else 0)


def _failed_runs(instance: dg.DagsterInstance, after: int, settings: Settings) -> Iterator[tuple[int, Notice]]:
    since = dg.RunStatusChangeRecordsFilter(dg.DagsterEventType.RUN_FAILURE, after_storage_id=after)
    for record in instance.fetch_run_status_changes(since, limit=MOST_RUNS, ascending=True).records:
        entry = record.event_log_entry
        summary = f"a run of {entry.job_name} failed"
        advice = f"Its log says why: {settings.dagster_url}/runs/{entry.run_id}"
        began_at = datetime.fromtimestamp(record.timestamp, UTC)
        yield record.storage_id, Notice(RUN_FAILED, "firing", "warning", summary, advice, began_at)


def _told(context: dg.SensorEvaluationContext, url: str, cursor: AlertCursor) -> list[Notice]:
    """Post what is in the outbox, in order; what is left of it.

    Without a webhook only what is still active is kept, for one that is set later.
    """
    if not url:
        return [notice for notice in cursor.outbox if notice == cursor.active.get(notice.alert)]
    for position, notice in enumerate(cursor.outbox[:MOST_POSTS]):
        try:
            webhook.post(url, _document(notice))
        except webhook.WebhookError as error:
            context.log.error(f"the webhook did not take {notice.alert}, it is tried again: {error}")
            return cursor.outbox[position:]
    return cursor.outbox[MOST_POSTS:]


def _publish(context: dg.SensorEvaluationContext, health: PlatformHealth, alerts: Iterable[Alert]) -> None:
    try:
        health.publish({alert.name for alert in alerts})
    except (BotoCoreError, ClientError) as error:
        advice = "may Dagster's role do cloudwatch:PutMetricData, and does CloudWatch answer?"
        context.log.warning(f"CloudWatch was not told of alerts, its alarms stay as they are; {advice} {error}")


def _document(notice: Notice) -> dict[str, Any]:
    """`text` is what Slack shows; the rest is for programs."""
    return {"text": notice.text, **msgspec.to_builtins(notice)}
