"""`docs/tables.md`, written from what is declared: tables, the registry of aggregates, and the asset graph.

`python -m commands.generated.tables_page` writes the page, and so does `./run lint --fix`.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta

import dagster as dg
from dagster._core.definitions.freshness import TimeWindowFreshnessPolicy

from clickstream_assets.aggregates.registry import AGGREGATES, Aggregate, Measure
from clickstream_assets.aggregates.rolled_up import rolled_up
from clickstream_assets.catalog import CATALOGUED
from clickstream_assets.definitions import build_definitions
from clickstream_assets.schedules import SCHEDULES
from resources.crawler import SCHEMA_DRIFT
from streaming.domain.tables import Column, Table
from streaming.settings import ROOT, load_settings

PAGE = ROOT / "docs" / "tables.md"
_CLAUSE = re.compile(r" ((?:FROM|WHERE|GROUP BY|ORDER BY) )")

_HEAD = """\
# Tables

Written by `./run lint --fix` from what the code declares; do not edit. `./run query` opens them all, and
[analysts.md](analysts.md) says how to use them from elsewhere. All times are UTC. What a table is partitioned by stands
in its rows: filter by these columns, and only the files of those hours or days are read. `currency` is the shop's own;
nothing is converted.
"""
_DRIFT = """\
## schema_drift

Where files differ from what is declared here, as the latest crawl of the asset `catalog` found; empty where none do.
"""
_ELSEWHERE = """\
## Elsewhere

Not in the catalog, and joined where they are needed:

- **`customers`**, a table of MySQL that the shop writes (`MYSQL_URL`), one row per customer: `customer_id` (the
  `user_id` of events, as a number), `pixel_id` (the pixel that the customer signed up through), `name`,
  `price_per_click` (what one click of this customer costs), `updated_at` (UTC). `./run customers list` shows them;
  `customer_prices` keeps the prices by day.
- **`user:<id>`**, a hash of Redis (`CACHE_REDIS_URL`) for every user: `name`, from `customers`; `last_access`, the
  event time of the user's last event; `location`, the place of that event. `latest_search_by_user` joins it.
"""


def tables_page() -> str:
    """The whole page."""
    definitions = build_definitions(load_settings({}))
    specs = {spec.key.to_user_string(): spec for spec in definitions.resolve_all_asset_specs()}
    upkeep = _upkeep(definitions)
    aggregates = {aggregate.name: aggregate for aggregate in AGGREGATES}
    sections = [
        "\n".join(_section(table, specs[table.name], upkeep[table.name], aggregates.get(table.name)))
        for table in CATALOGUED
    ]
    return "\n".join([_HEAD, *_index(), "", *sections, _DRIFT, *_columns(SCHEMA_DRIFT), "", _ELSEWHERE])


def _index() -> Iterator[str]:
    yield from _rows(("table", "grain"), [(f"[`{each.name}`](#{each.name})", each.grain) for each in CATALOGUED])


def _section(table: Table, spec: dg.AssetSpec, upkeep: Sequence[str], aggregate: Aggregate | None) -> Iterator[str]:
    yield from (f"## {table.name}", "", table.description, "")
    keys = [f"`{column.name}`" for column in table.partition_columns]
    facts = {
        "grain": table.grain,
        "partition": ", ".join(keys) or "none, it is one file",
        "files": f"`{table.prefix}/`, {table.format}",
        "made from": ", ".join(f"`{dep.asset_key.to_user_string()}`" for dep in spec.deps),
        "written": _written(spec, upkeep),
        "freshness": _freshness(spec),
    }
    if aggregate:
        views = [f"`{view.name}`" for view in rolled_up(aggregate)]
        facts["a day of it depends on"] = f"flattened events of {aggregate.depends_on}"
        has = "has" if len(views) == 1 else "have"
        facts["over days"] = f"{' and '.join(views)} {has} what adds up" if views else "days do not add up"
    yield from (f"- {fact}: {text}" for fact, text in facts.items() if text)
    yield ""
    yield from _columns(table.columns, of_days=aggregate is not None)
    yield from ("", "```sql", _CLAUSE.sub(r"\n\1", table.example), "```", "")


def _columns(columns: Sequence[Column], *, of_days: bool = False) -> Iterator[str]:
    rows = [
        (f"`{each.name}`", f"`{each.type}`", each.unit, each.description, *((_over_days(each),) if of_days else ()))
        for each in columns
    ]
    yield from _rows(("column", "type", "unit", "meaning", *(("over days",) if of_days else ())), rows)


def _over_days(column: Column) -> str:
    if not isinstance(column, Measure):
        return "key"
    return f"`{column.over_days}`" if column.over_days else ""


def _rows(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    yield from (f"| {' | '.join(row)} |".replace("  ", " ") for row in rows)


def _written(spec: dg.AssetSpec, upkeep: Sequence[str]) -> str:
    """By whom and when: what looks after an asset, or what the asset says of who writes it from outside."""
    if upkeep:
        return f"by Dagster; {', '.join(upkeep)}"
    return re.sub(r".*Written (.*)\.", r"\1", spec.description or "", flags=re.DOTALL)


def _freshness(spec: dg.AssetSpec) -> str:
    match spec.freshness_policy:
        case TimeWindowFreshnessPolicy(fail_window=fails, warn_window=warns):
            warned = f"warned of after {_hours(warns.to_timedelta())}, " if warns else ""
            return f"without an update {warned}failed after {_hours(fails.to_timedelta())}"
    return ""


def _hours(window: timedelta) -> str:
    hours = window // timedelta(hours=1)
    return "an hour" if hours == 1 else f"{hours} hours"


def _upkeep(definitions: dg.Definitions) -> Mapping[str, list[str]]:
    """What looks after each asset, and how often: schedules, and sensors that see changes."""
    found: dict[str, list[str]] = defaultdict(list)
    schedules = [(each.name, each.job_name, _every(str(each.cron_schedule))) for each in SCHEDULES]
    sensors = [
        (each.name, target.job_name, "on changes") for each in definitions.sensors or () for target in each.targets
    ]
    for name, job, when in (*schedules, *sensors):
        for key in definitions.resolve_job_def(job).asset_layer.executable_asset_keys:
            found[key.to_user_string()].append(f"`{name}` {when}")
    return found


def _every(cron: str) -> str:
    """The interval of a schedule, in words."""
    minute, hour, *_ = cron.split()
    if "/" in minute:
        return f"every {minute.partition('/')[2]} minutes"
    return "every hour" if hour == "*" else "every day"


if __name__ == "__main__":
    PAGE.write_text(tables_page())
