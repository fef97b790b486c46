"""Asset `dashboard`, its check, and the sensor that has it built after the aggregates."""

import base64
from collections import Counter
from datetime import UTC, date, datetime
from itertools import accumulate
from time import perf_counter

import dagster as dg

from clickstream_assets.dashboard.data import SHOWN_TABLES, NoDataError, as_of, decode, opened, sums_by_step
from clickstream_assets.dashboard.panels import PANELS, SOURCES
from clickstream_assets.dashboard.published import PAGE, packed_data
from clickstream_assets.dashboard.web_page import preview, render
from clickstream_assets.freshness import DAILY
from clickstream_assets.jobs import AGGREGATE, BUILD_DASHBOARD
from clickstream_assets.metadata import Metadata
from clickstream_assets.requests import BECAUSE, is_running
from resources.lake import Lake
from streaming.settings import Settings

DASHBOARD = "dashboard"


def dashboard_assets(settings: Settings) -> tuple[dg.AssetsDefinition, dg.AssetChecksDefinition]:
    """The page of the platform that these settings are of, and its check."""

    @dg.asset(
        name=DASHBOARD,
        deps=[dg.AssetDep(table, partition_mapping=dg.AllPartitionMapping()) for table in SHOWN_TABLES],
        group_name="reports",
        kinds={"html", "vegalite"},
        owners=["team:analytics"],
        pool=DASHBOARD,
        freshness_policy=DAILY,
    )
    def dashboard(lake: dg.ResourceParam[Lake]) -> dg.MaterializeResult[None]:
        """One web page for analysts, made of the aggregates alone: equal tables give equal bytes."""
        try:
            told = publish(lake, settings.memory_limit_bytes)
        except NoDataError:
            told = {"state": "there are no events in the tables yet"}
        return dg.MaterializeResult(metadata={"address": dg.MetadataValue.url(settings.dashboard_url), **told})

    @dg.asset_check(asset=dashboard)
    def numbers_equal_the_tables(lake: dg.ResourceParam[Lake]) -> dg.AssetCheckResult:
        """What the page holds of each table adds up, day by day, to what the table says now.

        A table may have been written since the page was built, and the page is then built again: it only warns.
        """
        astray = differences(lake, settings.memory_limit_bytes)
        return dg.AssetCheckResult(passed=not astray, severity=dg.AssetCheckSeverity.WARN, metadata=astray)

    return dashboard, numbers_equal_the_tables


@dg.sensor(job_name=BUILD_DASHBOARD, minimum_interval_seconds=60, default_status=dg.DefaultSensorStatus.RUNNING)
def rebuild_dashboard(
    context: dg.SensorEvaluationContext, lake: dg.ResourceParam[Lake]
) -> dg.RunRequest | dg.SkipReason:
    """The page is built again when a table that it shows has changed and no run is about to change more.

    What fails is tried again once an hour.
    """
    if is_built(lake):
        return dg.SkipReason("no table changed since the page was built")
    if is_running(AGGREGATE, context.instance) or is_running(BUILD_DASHBOARD, context.instance):
        return dg.SkipReason("tables are being written, or the page is being built")
    return dg.RunRequest(f"{as_of(lake)}/{datetime.now(UTC):%Y-%m-%dT%H}", tags={BECAUSE: "tables changed"})


def is_built(lake: Lake) -> bool:
    """Whether the page in place was made from the tables as they are; where there are neither, too."""
    return lake.dated(PAGE) == as_of(lake)


def publish(lake: Lake, memory_limit_bytes: int) -> Metadata:
    """Build the page and put it in its place; what a person wants to know of it.

    Raises:
        NoDataError: the tables are empty.
    """
    started = perf_counter()
    made_from = as_of(lake)
    with opened(lake, memory_limit_bytes) as connection:
        page = render(connection)
    lake.publish(PAGE, page, made_from)
    content = decode(packed_data(page))
    picture = base64.b64encode(preview(content)).decode()
    return {
        "newest_event": content["until"],
        "panels": len(PANELS),
        "bytes": len(page),
        "seconds": round(perf_counter() - started, 2),
        "preview": dg.MetadataValue.md(f"![Events by day and by type](data:image/png;base64,{picture})"),
    }


def differences(lake: Lake, memory_limit_bytes: int) -> dict[str, str]:
    """The measures of which the page holds other sums by day or hour than the table; none where there is no page."""
    page = lake.read(PAGE)
    if page is None:
        return {}
    content = decode(packed_data(page))
    found: dict[str, str] = {}
    with opened(lake, memory_limit_bytes) as connection:
        for source in SOURCES:
            held = content["tables"][source.table]
            since, until = (date.fromisoformat(day) for day in (held["since"], content["until"][:10]))
            in_table = sums_by_step(connection, source, since, until)
            for index, measure in enumerate(source.measures):
                off = Counter({at: -sums[index] for at, sums in in_table.items()})
                for at, value in zip(accumulate(held["at"]), held["sums"][measure], strict=True):
                    off[at] += value
                if steps := [at for at, more in off.items() if more]:
                    on_page = sum(held["sums"][measure])
                    found[f"{source.table}.{measure}"] = (
                        f"{on_page} on the page, {on_page - off.total()} in the table; "
                        f"they differ in {len(steps)} {'sums' if source.step == 'all' else f'{source.step}s'}"
                    )
    return found
