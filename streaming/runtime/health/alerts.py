"""What a person on call must act on: every condition, its threshold, its severity and what to do, in one place."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, NamedTuple

from streaming.edges.event_stream import DELIVERY
from streaming.runtime.health.ledger import RECENT_HOURS, share
from streaming.runtime.health.report import Health, Process
from streaming.settings import Settings

Severity = Literal["warning", "critical"]

BACKLOG_SHARE = 0.5
DISK_USED_SHARE = 0.9
LOST_WITHIN = timedelta(days=1)
# What CloudWatch proves of delivery, it proves half an hour after the fact.
PROVEN_WITHIN_SECONDS = 3600
_MOST_HOURS_NAMED = 5


@dataclass(frozen=True)
class Condition:
    """Something that is wrong while `found` says so: in words and figures, without personal data.

    `is_aws_own`: of what AWS itself runs there, and watches by alarms on its own metrics.
    """

    name: str
    severity: Severity
    found: Callable[[Health, Settings], str | None]
    advice: str
    is_aws_own: bool = False


class Alert(NamedTuple):
    """A condition that holds: what is wrong, and what to do about it."""

    name: str
    severity: Severity
    summary: str
    advice: str


def active_alerts(health: Health, settings: Settings) -> list[Alert]:
    """The conditions that hold, in the order of the table."""
    found = ((condition, condition.found(health, settings)) for condition in CONDITIONS)
    return [Alert(each.name, each.severity, summary, each.advice) for each, summary in found if summary]


def process_down(health: Health, _: Settings) -> str | None:
    """Processes the supervisor should have running and ready."""
    return ", ".join(f"{name} is {process.state}" for name, process in _not_ready(health)) or None


def stream_down(health: Health, settings: Settings) -> str | None:
    """The stream has an address and does not answer."""
    return "the event stream does not answer" if settings.redis_url and health.stream is None else None


def collector_down(health: Health, _: Settings) -> str | None:
    """The collector should run and does not answer."""
    return "the collector does not answer" if "collector" in health.processes and health.refused is None else None


def ledger_red(health: Health, _: Settings) -> str | None:
    """Hours in which a record is missing or unknown."""
    ledger = health.ledger
    return (
        f"{ledger.unaccounted_records} records are unaccounted for in {named_hours(ledger.red)}" if ledger.red else None
    )


def hour_overdue(health: Health, settings: Settings) -> str | None:
    """Hours that are over, delivered, and not settled, though the platform has been up for a while."""
    overdue = health.ledger.overdue
    if health.up_since and health.at < health.up_since + timedelta(seconds=settings.alert_delay_seconds):
        return None
    return f"delivered and still not sealed and balanced: {named_hours(overdue)}" if overdue else None


def delivery_late(health: Health, settings: Settings) -> str | None:
    """Delivery is further behind now than its buffer and the delay that is tolerated, or than CloudWatch's proof is."""
    age = health.stream.delivery_age_seconds if health.stream else 0.0
    here = settings.delivery_buffer_seconds + settings.alert_delay_seconds
    tolerated = PROVEN_WITHIN_SECONDS if settings.deployment == "aws" else here
    return f"delivery to the lake is {age:.0f} s behind" if age > tolerated else None


def backlog_high(health: Health, _: Settings) -> str | None:
    """Shards on the way to refusing records."""
    shares = [
        row.records / row.limit for row in (health.stream.backlog if health.stream else ()) if row.records and row.limit
    ]
    highest = max(shares, default=0.0)
    return f"a shard holds {highest:.0%} of the records it takes" if highest > BACKLOG_SHARE else None


def consumer_late(health: Health, settings: Settings) -> str | None:
    """Consumers other than delivery that are further behind than is tolerated."""
    ages: dict[str, float] = {}
    for row in health.stream.backlog if health.stream else ():
        if row.consumer != DELIVERY:
            ages[row.consumer] = max(ages.get(row.consumer, 0.0), row.oldest_age_seconds)
    late = [f"{name} is {age:.0f} s behind" for name, age in ages.items() if age > settings.alert_delay_seconds]
    return ", ".join(late) or None


def records_lost(health: Health, _: Settings) -> str | None:
    """Consumers that were so late that records were trimmed before they read them."""
    lost: dict[str, int] = {}
    for row in health.stream.backlog if health.stream else ():
        lately = row.lost_records if row.lost_at and row.lost_at > health.at - LOST_WITHIN else 0
        if row.trimmed_unread + lately:
            lost[row.consumer] = lost.get(row.consumer, 0) + row.trimmed_unread + lately
    return ", ".join(f"{name} never read {records} records" for name, records in lost.items()) or None


def failures_high(health: Health, settings: Settings) -> str | None:
    """Many of the records that arrived of late failed."""
    recent = health.ledger.recent
    failed = share(recent.failed_records, recent.raw_records)
    if failed <= settings.alert_failed_share:
        return None
    types = ", ".join(f"{name} {records}" for name, records in recent.failures_by_type.items())
    return f"{failed:.1%} of the records of the last {RECENT_HOURS} hours failed: {types}"


def degraded_high(health: Health, settings: Settings) -> str | None:
    """Hours of which an outage left too many rows without name or place."""
    hours = health.ledger.degraded
    tolerated = f"{settings.alert_degraded_share:.1%}"
    return f"more than {tolerated} of the rows lack a name or place: {named_hours(hours)}" if hours else None


def disk_nearly_full(health: Health, _: Settings) -> str | None:
    """The disk of the lake is running out."""
    used = health.disk_used_share
    free = health.disk_free_bytes / 1e9
    return f"the lake's disk is {used:.0%} full, {free:.1f} GB are left" if used > DISK_USED_SHARE else None


CONDITIONS: Sequence[Condition] = (
    Condition(
        "process_down",
        "critical",
        process_down,
        "The supervisor starts it again; if it stays down, its log under <home>/logs says why.",
    ),
    Condition(
        "stream_down",
        "critical",
        stream_down,
        "Clients get 503 and nothing is lost. Look at <home>/logs/stream-redis.log, or at the server REDIS_URL names.",
        is_aws_own=True,
    ),
    Condition(
        "collector_down",
        "critical",
        collector_down,
        "Clients cannot connect and must send again. Look at <home>/logs/collector.log.",
        is_aws_own=True,
    ),
    Condition(
        "ledger_red",
        "critical",
        ledger_red,
        "Flattening waits for these hours. The table ledger_deficits names the records; "
        "backfill enriched_events for the hours with from_raw, see docs/operations.md.",
    ),
    Condition(
        "hour_overdue",
        "warning",
        hour_overdue,
        "Look at the runs of settle_arrivals in the Dagster UI and that dagster-daemon runs; "
        "./run materialize settles them now.",
    ),
    Condition(
        "delivery_late",
        "critical",
        delivery_late,
        "Events are safe on the stream and not yet in the lake. Look at <home>/logs/delivery.log, or on AWS at the "
        "metrics and errors of Firehose: a full disk, a transform that fails, or more load than one worker takes.",
    ),
    Condition(
        "backlog_high",
        "critical",
        backlog_high,
        "At 100 % the collector answers 503. As delivery_late; CLICKSTREAM_STREAM_BACKLOG buys time.",
        is_aws_own=True,
    ),
    Condition(
        "consumer_late",
        "warning",
        consumer_late,
        "Look at <home>/logs/consumers.log. What it has not read when CLICKSTREAM_STREAM_RETENTION_SECONDS are over "
        "is trimmed.",
        is_aws_own=True,
    ),
    Condition(
        "records_lost",
        "warning",
        records_lost,
        "The events themselves are in the lake. Materialize the asset last_access; see docs/operations.md.",
        is_aws_own=True,
    ),
    Condition(
        "failures_high",
        "warning",
        failures_high,
        "The table failed_events says which field and why. Once the cause is mended, ./run replay lands them.",
    ),
    Condition(
        "degraded_high",
        "warning",
        degraded_high,
        "Geolocation, the cache or MySQL was away. Once it is back, the job repair_degraded_hours fills these hours.",
    ),
    Condition(
        "disk_nearly_full",
        "critical",
        disk_nearly_full,
        "When it is full, delivery waits and the stream fills up; on AWS, runs of Dagster fail. Make room or move "
        "CLICKSTREAM_LAKE.",
    ),
)


def _not_ready(health: Health) -> Iterator[tuple[str, Process]]:
    return ((name, process) for name, process in health.processes.items() if process.state != "ready")


def named_hours(hours: Sequence[datetime]) -> str:
    """The first few hours, and how many more there are."""
    named = ", ".join(f"{hour:%Y-%m-%d %H:00}" for hour in hours[:_MOST_HOURS_NAMED])
    more = len(hours) - _MOST_HOURS_NAMED
    return f"{named} and {more} more hours" if more > 0 else named
