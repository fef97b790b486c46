"""The web page: one file that asks nobody for anything, drawn by Vega from the data it holds."""

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from datetime import date, timedelta
from functools import cache
from html import escape
from importlib.resources import files
from itertools import accumulate
from typing import Any

import altair as alt
import duckdb
import vl_convert

from clickstream_assets.dashboard.data import pack
from clickstream_assets.dashboard.panels import ACTIONS, PANELS, Kind, Panel

MOST_BYTES = 1_900_000
ROWS = alt.NamedData("rows")
EVENT_COLOURS = alt.Scale(domain=list(ACTIONS), range=[f"var(--{action.lower()})" for action in ACTIONS])
TIME_LABEL = "utcFormat(datum.value, span(domain('x')) < 4 * 864e5 ? '%b %-d, %H:%M' : '%b %-d')"
SHADES = [f"var(--shade-{step})" for step in range(1, 7)]


def render(connection: duckdb.DuckDBPyConnection) -> bytes:
    """The page of a catalog's tables, smaller than MOST_BYTES.

    Raises:
        NoDataError: the tables are empty.
    """
    empty = _page(b"")
    return _page(pack(connection, MOST_BYTES - len(empty)))


def specs() -> dict[str, dict[str, Any]]:
    """Vega-Lite for each panel that Vega draws, by the panel's name; the page gives them their rows."""
    return {panel.name: DRAWN[panel.kind](panel).to_dict() for panel in PANELS if panel.kind in DRAWN}


def preview(content: dict[str, Any]) -> bytes:
    """A PNG of two panels as they look on paper, for where a page cannot be shown."""
    table = content["tables"]["events_by_type"]
    rows = list(_rows(table))
    days = sorted({row["date"] for row in rows})
    by_type = alt.Color("event_name", type="nominal", scale=EVENT_COLOURS, title=None)
    count = alt.Y("events", type="quantitative", title=None)
    bars = alt.Chart(ROWS).mark_bar().encode(alt.X("date", type="ordinal", title=None, axis=None), count, by_type)
    donut = alt.Chart(ROWS).mark_arc(innerRadius=60).encode(theta="sum(events):Q", color=by_type)
    title = f"Events from {days[0]} to {days[-1]}: {sum(row['events'] for row in rows):,}"
    both = alt.hconcat(bars.properties(width=520, height=220), donut.properties(width=220, height=220)).properties(
        title=title
    )
    spec = json.dumps(both.to_dict() | {"datasets": {"rows": rows}})
    colours = dict(re.findall(r"--([a-z0-9-]+): (#[0-9a-f]{6})", _own("style.css").split("}")[0]))
    return vl_convert.vegalite_to_png(re.sub(r"var\(--([a-z0-9-]+)\)", lambda name: colours[name[1]], spec), scale=1.5)


def _rows(table: dict[str, Any]) -> Iterator[dict[str, Any]]:
    since = date.fromisoformat(table["since"])
    keys, steps = accumulate(table["key"]), accumulate(table["at"])
    for key, at, events in zip(keys, steps, table["sums"]["events"], strict=True):
        yield {"event_name": table["keys"]["event_name"][key], "date": f"{since + timedelta(at)}", "events": events}


@cache
def _frame() -> tuple[bytes, bytes]:
    """What stands before and after the data."""
    declared = {
        "actions": ACTIONS,
        "panels": {
            panel.name: {"kind": panel.kind, "table": panel.table, "measures": panel.measures} for panel in PANELS
        },
        "specs": specs(),
    }
    vega = vl_convert.javascript_bundle()  # type: ignore[call-arg]  # the snippet has a default
    scripts = [vega, *(_own(name) for name in ("model.js", "charts.js", "dashboard.js"))]
    style = _own("style.css")
    html = _own("page.html")
    for name, text in {
        "policy": _policy(scripts, style),
        "style": style,
        "tiles": "\n".join(_tile(panel) for panel in PANELS if panel.kind is Kind.TILE),
        "panels": "\n".join(_panel(panel) for panel in PANELS if panel.kind is not Kind.TILE),
        "declared": json.dumps(declared, separators=(",", ":")).replace("<", "\\u003c"),
        "scripts": "".join(f"<script>{script}</script>\n" for script in scripts),
    }.items():
        html = html.replace(f"{{{{ {name} }}}}", text)
    before, after = html.split("{{ data }}")
    return before.encode(), after.encode()


def _page(packed: bytes) -> bytes:
    before, after = _frame()
    return before + packed + after


def _policy(scripts: list[str], style: str) -> str:
    """What a browser may run and load for this page: what stands in it, and what its own address serves."""
    allowed = " ".join(_hash(script) for script in scripts)
    return (
        f"default-src 'none'; script-src {allowed}; style-src {_hash(style)}; img-src data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _own(name: str) -> str:
    return files(__package__).joinpath("page", name).read_text()


def _tile(panel: Panel) -> str:
    return (
        f'<article class="tile" id="{panel.name}" aria-labelledby="{panel.name}-title">'
        f'<h2 id="{panel.name}-title">{escape(panel.title)}</h2><p class="value"></p><p class="about"></p></article>'
    )


def _panel(panel: Panel) -> str:
    note = f'<p class="note">{escape(panel.note)}</p>' if panel.note else ""
    return (
        f'<section class="panel span-{panel.width}" id="{panel.name}" data-kind="{panel.kind}" '
        f'aria-labelledby="{panel.name}-title">'
        f'<header><h2 id="{panel.name}-title">{escape(panel.title)}</h2><p class="about"></p></header>'
        f'<div class="figure"></div>{note}<p class="limits"></p></section>'
    )


def _time(panel: Panel) -> Any:
    """Stacked by the page: Vega-Lite stacks no bars that last from one moment to another."""
    colour: Any = alt.value("var(--accent)")
    if panel.colour:
        colour = alt.Color(panel.colour, type="nominal", scale=EVENT_COLOURS, legend=None)
    return (
        alt.Chart(ROWS)
        .mark_rect(cornerRadius=1)
        .encode(
            x=alt.X(
                "start",
                type="temporal",
                scale=alt.Scale(type="utc"),
                title=None,
                axis=alt.Axis(grid=False, tickCount=8, labelExpr=TIME_LABEL),
            ),
            x2="end",
            y=alt.Y(
                "low",
                type="quantitative",
                title=None,
                axis=alt.Axis(tickCount=4, labelExpr="format(datum.value, '~s')"),
            ),
            y2="high",
            color=colour,
            tooltip=_tooltip("when", *([panel.colour] if panel.colour else []), panel.measures[0]),
        )
        .properties(width="container", height=290)
    )


def _donut(panel: Panel) -> Any:
    measure = panel.measures[0]
    dimension = panel.dimension[0]
    arcs = (
        alt.Chart(ROWS)
        .mark_arc(
            innerRadius={"expr": "min(width, height) / 2 * 0.64"}, padAngle=0.012, cornerRadius=3, cursor="pointer"
        )
        .encode(
            theta=alt.Theta(measure, type="quantitative", stack=True),
            order=alt.Order("order", type="quantitative"),
            color=alt.Color(dimension, type="nominal", scale=EVENT_COLOURS, legend=None),
            tooltip=_tooltip(dimension, measure, "share"),
        )
    )
    total = (
        alt.Chart(ROWS)
        .transform_aggregate(total=f"sum({measure})")
        .mark_text(fontSize=22, fontWeight=600, dy=-6, fill="var(--ink)")
        .encode(text=alt.Text("total", type="quantitative", format=","))
    )
    label = alt.Chart(ROWS).transform_aggregate(rows="count()").mark_text(dy=14, text=measure, fill="var(--quiet)")
    return alt.layer(arcs, total, label).properties(width="container", height=200)


def _states(panel: Panel) -> Any:
    measure = panel.measures[0]
    shapes = alt.Data(values=_shapes("us-states"), format=alt.TopoDataFormat(feature="states", type="topojson"))  # type: ignore[no-untyped-call]
    return (
        alt.Chart(shapes)
        .mark_geoshape(stroke="var(--card)", strokeWidth=1)
        .transform_lookup(
            lookup="properties.name", from_=alt.LookupData(data=ROWS, key="region", fields=[measure, "share"])
        )
        .transform_calculate(state="datum.properties.name", **{measure: f"datum.{measure} || 0"})
        .encode(
            color=alt.Color(
                measure,
                type="quantitative",
                scale=alt.Scale(type="quantile", range=SHADES),
                legend=None,  # the page says what its classes are
            ),
            tooltip=_tooltip("state", measure, "share"),
        )
        .project(type="identity")
        .properties(width="container", height="container")
    )


def _points(panel: Panel) -> Any:
    measure = panel.measures[0]
    shapes = alt.Data(values=_shapes("world-land"), format=alt.TopoDataFormat(feature="land", type="topojson"))  # type: ignore[no-untyped-call]
    land = alt.Chart(shapes).mark_geoshape(fill="var(--land)", stroke="var(--line)", strokeWidth=0.5)
    points = (
        alt.Chart(ROWS)
        .mark_circle(fill="var(--accent-2)", fillOpacity=0.45, stroke="var(--accent-2)", strokeWidth=0.75)
        .encode(
            longitude=alt.Longitude("longitude", type="quantitative"),
            latitude=alt.Latitude("latitude", type="quantitative"),
            size=alt.Size(
                measure,
                type="quantitative",
                scale=alt.Scale(range=[4, 600]),
                legend=alt.Legend(
                    title=None,
                    orient="bottom",
                    direction="horizontal",
                    labelExpr="datum.value ? format(datum.value, '~s') : ''",
                    symbolFillColor="transparent",
                    symbolOpacity=1,
                    tickCount=3,
                ),
            ),
            tooltip=_tooltip("place", measure),
        )
    )
    return alt.layer(land, points).project(type="naturalEarth1").properties(width="container", height="container")


def _heat(panel: Panel) -> Any:
    cohort, week = panel.dimension
    base = alt.Chart(ROWS).encode(
        x=alt.X(
            week,
            type="ordinal",
            title="weeks since the first",
            axis=alt.Axis(orient="top", labelAngle=0, domain=False, ticks=False),
        ),
        y=alt.Y(
            cohort,
            type="ordinal",
            sort=alt.EncodingSortField("begins", op="min"),
            title=None,
            axis=alt.Axis(domain=False, ticks=False, labelPadding=10),
        ),
        tooltip=_tooltip(cohort, week, *panel.measures, "of", "share"),
    )
    cells = base.mark_rect(cornerRadius=3, stroke="var(--card)", strokeWidth=2).encode(
        color=alt.Color(
            "share",
            type="quantitative",
            scale=alt.Scale(type="threshold", domain=[0.1, 0.2, 0.4, 0.6, 0.8], range=SHADES),
            legend=None,
        )
    )
    text = base.mark_text(fontSize=11).encode(
        text="retained:N",
        color=alt.condition("datum.share >= 0.6", alt.value("var(--on-deep)"), alt.value("var(--on-pale)")),
    )
    return alt.layer(cells, text).properties(width="container", height="container")


DRAWN = {Kind.TIME: _time, Kind.DONUT: _donut, Kind.STATES: _states, Kind.POINTS: _points, Kind.HEAT: _heat}


def _tooltip(*fields: str) -> list[alt.Tooltip]:
    """Text fields say what they are of; the page writes them, numbers formatted."""
    quantities = {"events": ",", "users": ",", "of": ",", "revenue": ",.2f", "share": ".1%"}
    return [
        alt.Tooltip(field, type="quantitative", format=quantities[field])
        if field in quantities
        else alt.Tooltip(field, type="nominal")
        for field in fields
    ]


def _shapes(name: str) -> dict[str, Any]:
    shapes: dict[str, Any] = json.loads(_own(f"{name}.json"))
    return shapes
