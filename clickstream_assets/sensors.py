"""Sensors: arrivals become known, and what they touch is rebuilt, whatever its age.

What is to be done is read from the lake (`pending`), so nothing is forgotten. A cursor only saves reading: it moves on
when nothing is left to do, and a sensor waits while its job runs. What fails is tried again once an hour.
"""

import time
from datetime import UTC, datetime
from itertools import islice
from typing import NamedTuple

import dagster as dg
import redis

from clickstream_assets import pending
from clickstream_assets.enriched.seal import arrivals_changed_at
from clickstream_assets.ingestion.arrivals import arrival_events, arrivals, unreported
from clickstream_assets.jobs import AGGREGATE, BALANCE, FLATTEN, REBUILD_CACHE, SETTLE
from clickstream_assets.ledger.balance import is_unsealed
from clickstream_assets.partitions import Partitions, hour_key, hour_of_key, hour_ranges, shown
from clickstream_assets.requests import BECAUSE, aggregate_requests, flatten_requests, is_running, range_requests
from resources.delivery import Delivery
from resources.lake import Lake
from streaming.domain.tables import ENRICHED_EVENTS
from streaming.edges.user_cache import UserCache

RUNNING = dg.DefaultSensorStatus.RUNNING
MOST_ARRIVALS = 200
# Files may show after the time they are dated by: on S3 that is when their upload began, by its clock, and days long
# past are looked at once an hour.
OVERLAP_NANOSECONDS = 3_900_000_000_000


def sensors(partitions: Partitions) -> list[dg.SensorDefinition]:
    """All sensors, running by default."""

    @dg.sensor(minimum_interval_seconds=30, default_status=RUNNING)
    def report_arrivals(context: dg.SensorEvaluationContext, lake: dg.ResourceParam[Lake]) -> dg.SensorResult:
        """What delivery has landed, as materialisations of its tables."""
        now = time.time_ns() - OVERLAP_NANOSECONDS
        new = unreported(arrivals(lake, int(context.cursor or 0)), context.instance)
        known = (arrival for arrival in new if partitions.hours.has_partition_key(hour_key(arrival.hour)))
        events = list(arrival_events(islice(known, MOST_ARRIVALS), lake.snapshot()))
        return dg.SensorResult(asset_events=events, cursor=context.cursor if len(new) > MOST_ARRIVALS else str(now))

    @dg.sensor(job_name=SETTLE, minimum_interval_seconds=60, default_status=RUNNING)
    def reopen_late_hours(
        context: dg.SensorEvaluationContext, lake: dg.ResourceParam[Lake], delivery: dg.ResourceParam[Delivery]
    ) -> dg.SensorResult | dg.SkipReason:
        """Sealed hours to which more has come are sealed and balanced anew; those that were rebuilt are balanced."""
        if is_running(SETTLE, context.instance):
            return dg.SkipReason("hours of arrival are being settled")
        stale = pending.arrival_hours(lake, delivery.progress()).closed
        sealed = [hour for hour in stale if lake.partition(ENRICHED_EVENTS, hour)]
        late = [hour for hour in sealed if is_unsealed(hour, lake)]
        rebuilt = sorted(set(sealed) - set(late))
        requests = [
            *range_requests(hour_ranges(late), "files came after the seal", attempt=_newest(late, lake)),
            *range_requests(hour_ranges(rebuilt), "the hours were rebuilt", BALANCE, attempt=_newest(rebuilt, lake)),
        ]
        return dg.SensorResult(run_requests=requests)

    @dg.sensor(job_name=FLATTEN, minimum_interval_seconds=30, default_status=RUNNING)
    def flatten_touched_hours(
        context: dg.SensorEvaluationContext, lake: dg.ResourceParam[Lake]
    ) -> dg.SensorResult | dg.SkipReason:
        """Event hours whose rows changed in a ledger are flattened anew, and those that no longer have any."""
        changed = _materialised(context, "event_ledger")
        if not changed.hours:
            return dg.SkipReason("no ledger changed")
        if is_running(FLATTEN, context.instance):
            return dg.SkipReason("event hours are being flattened")
        hours = pending.event_hours(lake, changed.hours)
        known = [hour for hour in hours if partitions.hours.has_partition_key(hour_key(hour))]
        because = f"arrivals of {shown(hour_ranges(changed.hours))} changed {shown(hour_ranges(known))}"
        requests = flatten_requests(known, because, _attempt(changed.cursor))
        return dg.SensorResult(run_requests=list(requests), cursor=context.cursor if hours else changed.cursor)

    @dg.sensor(job_name=AGGREGATE, minimum_interval_seconds=30, default_status=RUNNING)
    def aggregate_touched_days(
        context: dg.SensorEvaluationContext, lake: dg.ResourceParam[Lake]
    ) -> dg.SensorResult | dg.SkipReason:
        """Days that are over and were flattened anew are aggregated anew. The day that goes on has a schedule."""
        changed = _materialised(context, "flattened_events")
        if not changed.hours:
            return dg.SkipReason("nothing was flattened")
        if is_running(AGGREGATE, context.instance):
            return dg.SkipReason("days are being aggregated")
        today = datetime.now(UTC).date()
        behind = pending.days(lake, {hour.date() for hour in changed.hours if hour.date() < today})
        over = {day: aggregates for day, aggregates in behind.items() if day < today}
        because = f"{shown(hour_ranges(changed.hours))} was flattened anew"
        requests = aggregate_requests(over, because, _attempt(changed.cursor))
        return dg.SensorResult(run_requests=list(requests), cursor=context.cursor if over else changed.cursor)

    return [rebuild_wiped_cache, report_arrivals, reopen_late_hours, flatten_touched_hours, aggregate_touched_days]


@dg.sensor(job_name=REBUILD_CACHE, minimum_interval_seconds=30, default_status=RUNNING)
def rebuild_wiped_cache(
    context: dg.SensorEvaluationContext,
    user_cache: dg.ResourceParam[UserCache],
    delivery: dg.ResourceParam[Delivery],
) -> dg.RunRequest | dg.SkipReason:
    """A cache that lost what it held is filled anew: names from MySQL, last access from enriched events.

    At once, and again when delivery has landed what had arrived by then.
    """
    try:
        lost_at = user_cache.last_access_lost_at(datetime.now(UTC))
    except redis.RedisError as error:
        return dg.SkipReason(f"the cache does not answer: {error}")
    if lost_at is None:
        return dg.SkipReason("the cache is complete")
    if is_running(REBUILD_CACHE, context.instance):
        return dg.SkipReason("the cache is being filled")
    caught_up_to = delivery.progress().caught_up_to
    landed = caught_up_to is not None and caught_up_to >= lost_at
    return dg.RunRequest(
        _attempt(f"{lost_at}/{landed}"), tags={BECAUSE: f"the cache was found empty at {lost_at:%Y-%m-%d %H:%M:%S}"}
    )


def _newest(hours: list[datetime], lake: Lake) -> str:
    """Changes when more comes to one of these hours, or one of them is rebuilt."""
    rebuilt = (lake.written_at(ENRICHED_EVENTS, hour) for hour in hours)
    return str(max((*rebuilt, *(arrivals_changed_at(hour, lake) for hour in hours)), default=0))


class Materialised(NamedTuple):
    """The hours of an asset that were materialised since the cursor, and the cursor that lies behind them."""

    hours: set[datetime]
    cursor: str


def _materialised(context: dg.SensorEvaluationContext, asset: str) -> Materialised:
    """The latest of each hour alone: however long one hour keeps the cursor where it is, the others are seen."""
    since = int(context.cursor or 0)
    latest = context.instance.get_latest_storage_id_by_partition(
        dg.AssetKey(asset), dg.DagsterEventType.ASSET_MATERIALIZATION, after_cursor=since
    )
    return Materialised({hour_of_key(key) for key in latest}, str(max(latest.values(), default=since)))


def _attempt(what: str) -> str:
    return f"{what}/{datetime.now(UTC):%Y-%m-%dT%H}"
