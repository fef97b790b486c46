"""Schedules. They ask the lake what is due, so one that was missed is made up for by the next."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import dagster as dg

from clickstream_assets import pending
from clickstream_assets.enriched.assets import repair_degraded_hours
from clickstream_assets.enriched.repair import degraded_hours
from clickstream_assets.jobs import AGGREGATE, BALANCE, REFRESH_CATALOG, REFRESH_USER_NAMES, REPORT, SETTLE
from clickstream_assets.partitions import hour_ranges, shown
from clickstream_assets.requests import BECAUSE, aggregate_requests, is_running, range_requests
from clickstream_assets.sweep import sweep_leftovers
from resources.delivery import Delivery
from resources.lake import Lake

RUNNING = dg.DefaultScheduleStatus.RUNNING
REPAIRED_ALONE = timedelta(days=7)


@dg.schedule(job_name=SETTLE, cron_schedule="3-59/15 * * * *", default_status=RUNNING)
def seal_closed_hours(
    context: dg.ScheduleEvaluationContext, lake: dg.ResourceParam[Lake], delivery: dg.ResourceParam[Delivery]
) -> Iterator[dg.RunRequest]:
    """Seal and balance the hours that delivery is done with: three minutes past, or later where buffers are long."""
    hours = pending.arrival_hours(lake, delivery.progress()).closed
    yield from range_requests(hour_ranges(hours), "delivery is done with these hours")


@dg.schedule(job_name=SETTLE, cron_schedule="*/5 * * * *", default_status=RUNNING)
def balance_open_hours(
    context: dg.ScheduleEvaluationContext, lake: dg.ResourceParam[Lake], delivery: dg.ResourceParam[Delivery]
) -> Iterator[dg.RunRequest]:
    """Every five minutes, balance the hours that are still open as far as delivery has come."""
    hours = pending.arrival_hours(lake, delivery.progress()).open
    if not is_running(SETTLE, context.instance):
        yield from range_requests(hour_ranges(hours), "these hours are open", BALANCE)


@dg.schedule(job_name=AGGREGATE, cron_schedule="*/15 * * * *", default_status=RUNNING)
def aggregate_due_days(context: dg.ScheduleEvaluationContext, lake: dg.ResourceParam[Lake]) -> Iterator[dg.RunRequest]:
    """Every quarter of an hour, aggregate the day that goes on, and any other that no sensor saw to in its time."""
    if not is_running(AGGREGATE, context.instance):
        yield from aggregate_requests(pending.days(lake), "these days are behind what is flattened")


@dg.schedule(job=repair_degraded_hours, cron_schedule="40 * * * *", default_status=RUNNING)
def repair_recent_hours(lake: dg.ResourceParam[Lake]) -> dg.RunRequest | dg.SkipReason:
    """Every hour, repair what an outage of the last week cost. What is older takes a run by hand."""
    degraded = degraded_hours(lake, datetime.now(UTC) - REPAIRED_ALONE)
    if not degraded:
        return dg.SkipReason("no row is degraded")
    return dg.RunRequest(tags={BECAUSE: f"look-ups failed in {shown(hour_ranges(degraded))}"})


refresh_user_names = dg.ScheduleDefinition(
    name="refresh_user_names_often", job_name=REFRESH_USER_NAMES, cron_schedule="*/2 * * * *", default_status=RUNNING
)
compare_user_names = dg.ScheduleDefinition(
    name="compare_user_names_daily",
    job_name=REFRESH_USER_NAMES,
    cron_schedule="17 3 * * *",
    run_config={"ops": {"user_names": {"config": {"full": True}}}},
    default_status=RUNNING,
)
refresh_catalog = dg.ScheduleDefinition(
    name="refresh_catalog_often", job_name=REFRESH_CATALOG, cron_schedule="*/10 * * * *", default_status=RUNNING
)
report_hourly = dg.ScheduleDefinition(
    name="report_hourly", job_name=REPORT, cron_schedule="25 * * * *", default_status=RUNNING
)
sweep_hourly = dg.ScheduleDefinition(
    name="sweep_leftovers_hourly", job=sweep_leftovers, cron_schedule="41 * * * *", default_status=RUNNING
)

SCHEDULES = [
    sweep_hourly,
    seal_closed_hours,
    balance_open_hours,
    aggregate_due_days,
    repair_recent_hours,
    refresh_user_names,
    compare_user_names,
    report_hourly,
    refresh_catalog,
]
