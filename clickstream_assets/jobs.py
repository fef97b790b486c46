"""Jobs: what schedules and sensors launch. Hourly and daily partitions do not share one."""

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from clickstream_assets.aggregates.registry import AGGREGATES
from clickstream_assets.enriched.assets import repair_degraded_hours
from clickstream_assets.failed.job import replay_failed_events
from clickstream_assets.freshness import latest_hours_are_present
from clickstream_assets.sweep import sweep_leftovers

SETTLE = "settle_arrivals"
BALANCE = ("failed_events", "event_ledger")  # what of it balances an hour without sealing it
FLATTEN = "flatten"
AGGREGATE = "aggregate"
REFRESH_USER_NAMES = "refresh_user_names"
REBUILD_CACHE = "rebuild_cache"
REPORT = "report"
REFRESH_CATALOG = "refresh_catalog"
BUILD_DASHBOARD = "build_dashboard"

JOBS: list[dg.JobDefinition | UnresolvedAssetJobDefinition] = [
    dg.define_asset_job(
        SETTLE,
        dg.AssetSelection.assets("enriched_events", "failed_events", "event_ledger")
        - dg.AssetSelection.checks(latest_hours_are_present),
        description="Hours of arrival: seal what delivery is done with, and balance every record.",
    ),
    dg.define_asset_job(FLATTEN, ["flattened_events"], description="Hours of event time: one row per click."),
    dg.define_asset_job(
        AGGREGATE,
        ["customer_prices", *(aggregate.name for aggregate in AGGREGATES)],
        description="Days of event time: all aggregates, and what they read beside flattened events.",
    ),
    dg.define_asset_job(REFRESH_USER_NAMES, ["user_names"], description="Customers' names into the cache."),
    dg.define_asset_job(
        REBUILD_CACHE,
        ["user_names", "last_access"],
        description="Names from MySQL and last access from enriched events, into a cache that was wiped.",
    ),
    dg.define_asset_job(BUILD_DASHBOARD, ["dashboard"], description="The web page for analysts, from the aggregates."),
    dg.define_asset_job(REPORT, ["latest_search_by_user"], description="Reports over lake, Redis and MySQL."),
    repair_degraded_hours,
    replay_failed_events,
    sweep_leftovers,
    dg.define_asset_job(
        REFRESH_CATALOG,
        dg.AssetSelection.assets("catalog") | dg.AssetSelection.checks(latest_hours_are_present),
        description="Views for new tables and columns, and a look whether any hour is overdue.",
    ),
]
