"""Views over the days of an aggregate, for what its measures can be rolled up to: all time, and the last 30 days."""

from collections.abc import Iterator

from clickstream_assets.aggregates.registry import Aggregate
from resources.catalog import View

TODAY = "CAST(now() AT TIME ZONE 'UTC' AS DATE)"
SPANS = {
    "all_time": ("all days", "true"),
    "last_30_days": (
        "today, UTC, and the 29 days before",
        f"date BETWEEN CAST({TODAY} - INTERVAL 29 DAY AS DATE) AND {TODAY}",
    ),
}


def rolled_up(aggregate: Aggregate) -> Iterator[View]:
    """`<name>_all_time` and `<name>_last_30_days`; none where days tell nothing of more than a day.

    What is counted once a week has no view of 30 days: they begin amid a week, and would count a part of it.
    """
    measures = tuple(measure for measure in aggregate.measures if measure.over_days)
    if not measures:
        return
    keys = [key.name for key in aggregate.keys]
    grain = f"one row per {', '.join(keys)}" if keys else "one row"
    grouping = f" GROUP BY {', '.join(keys)}" if keys else ""
    rolled = [f'CAST({measure.over_days} AS {measure.type}) AS "{measure.name}"' for measure in measures]
    is_weekly = any(invariant.period == "week" for invariant in aggregate.invariants)
    for span, (days, condition) in SPANS.items():
        if is_weekly and condition != "true":
            continue
        yield View(
            f"{aggregate.name}_{span}",
            f"{aggregate.name} of {days}: {grain}",
            (*aggregate.keys, *measures),
            f'SELECT {", ".join(keys + rolled)} FROM "{aggregate.name}" WHERE {condition}{grouping}',  # noqa: S608  declared names
        )
