"""`./run cost`: what the deployment of infra/ costs a month at list prices, by part, for so many events a day.

Prices are read from infra/prices.json, with their region and date. What the functions take is measured by
`./run bench functions`; all else that is assumed stands at the head of this module.
"""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import click
from rich.console import Console
from rich.table import Table

from streaming.handlers.scale_shards import CONSUMERS, SHARD_BYTES_PER_SECOND, SHARD_RECORDS_PER_SECOND
from streaming.settings import ROOT

PRICES = ROOT / "infra" / "prices.json"

DAYS, HOURS = 30.4, 730
MOST_EVENTS = 1e12  # a day
GB, MB = 1024**3, 1024**2  # Kinesis takes events of one MB

# A stream is scaled to be half full at most, and traffic peaks at twice its average.
HEADROOM, PEAK = 2, 2
HIGH_INTENT_SHARE = 0.1  # of events are views that go to the second stream
STORED_BYTES = 0.8  # of lake for a byte of event: raw, landing, enriched, flattened, compressed
LOG_GB, FILES_A_MINUTE, OBJECT_READS = 2, 3, 20  # Firehose writes raw, landing and views each minute; Dagster reads
REDSHIFT_MINUTES, REDSHIFT_MINUTES_PER_MILLION = 10, 0.1  # a day
CRAWLS, CRAWL_HOURS, CRAWL_DPUS = 2, 1 / 6, 2  # a day; ten minutes are billed at least
ALARM_METRICS, OWN_METRICS, RULES, SECRETS, KEY_REQUESTS = 39, 8, 4, 5, 500_000
# An hour: four by scale_shards each minute; seven each by two sensors of Dagster each minute, and by its schedules.
METRICS_ASKED = 4 * 60 + 7 * (2 * 60 + 12 + 4)
VCPU_MEGABYTES = 1769  # memory of a Lambda that comes with one processor

# What others publish for AWS's own clickstream solution, dollars per million events by events a second.
PUBLISHED = {100: 1.74, 1_000: 0.39, 10_000: 0.17}
BATCHES = (1, 100, 500)


class Function(NamedTuple):
    """A Lambda: its memory, and CPU milliseconds of a call and of each event, by `./run bench functions`."""

    megabytes: int
    call_ms: float
    event_ms: float

    def seconds(self, calls: float, events: float) -> float:
        """Billed seconds: CPU at the share of a processor that comes with the memory, and 2 ms of waiting a call."""
        return (calls * (self.call_ms / self.share + 2) + events * self.event_ms / self.share) / 1000

    @property
    def share(self) -> float:
        return min(1.0, self.megabytes / VCPU_MEGABYTES)


ENRICHMENT = Function(1024, 0.3, 0.0071)
LAST_ACCESS = Function(512, 0.4, 0.008)
HIGH_INTENT = Function(512, 1.9, 0.017)


@dataclass(frozen=True)
class Traffic:
    """Events of one size, sent so many to a request; `on_demand` says how the streams are paid."""

    events_per_day: float
    batch: int = 1
    event_bytes: int = 460
    on_demand: bool = False
    last_access_batch: int = 10

    @property
    def events(self) -> float:
        """A month's."""
        return self.events_per_day * DAYS

    @property
    def per_second(self) -> float:
        return self.events_per_day / 86_400

    @property
    def shards(self) -> int:
        """Of the stream of events."""
        peak = self.per_second * PEAK * HEADROOM
        return max(1, math.ceil(max(peak / SHARD_RECORDS_PER_SECOND, peak * self.event_bytes / SHARD_BYTES_PER_SECOND)))


class Amount(click.FloatRange):
    """A number within bounds, which NaN is not."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Parse it."""
        amount = float(super().convert(value, param, ctx))
        if math.isnan(amount):
            self.fail(f"{value!r} is no number.", param, ctx)
        return amount


class Line(NamedTuple):
    """One part's dollars a month: what it costs without an event, and what the events add."""

    part: str
    fixed: float
    variable: float

    @property
    def total(self) -> float:
        return self.fixed + self.variable


class Prices:
    """Dollars for an amount of something that infra/prices.json names."""

    def __init__(self) -> None:
        self.sheet: dict[str, Any] = json.loads(PRICES.read_text())

    def __call__(self, name: str, amount: float) -> float:
        price = self.sheet["prices"][name]
        if "tiers" not in price:
            return float(amount / price.get("per", 1) * price["usd"])
        cost, below = 0.0, 0.0
        for end, usd in price["tiers"]:
            within = max(0.0, min(amount, end or math.inf) - below)
            cost, below = cost + within / price["per"] * usd, end or math.inf
        return cost


def bill(traffic: Traffic, price: Prices) -> list[Line]:
    """A month, by part."""
    return [
        *_ingestion(traffic, price),
        _streams(traffic, price),
        _firehose(traffic, price),
        _functions(traffic, price),
        *_lake(traffic, price),
        *_stores(price),
        Line("Dagster host", price("host_hours", HOURS) + price("disk_gb_month", 50), 0),
        Line(
            "CloudWatch, KMS, secrets",
            price("alarm_metrics", ALARM_METRICS) + price("own_metrics", OWN_METRICS)
            + price("metrics_asked", METRICS_ASKED * HOURS)
            + price("dashboards", 1) + price("log_gb", LOG_GB) + price("keys", 1)
            + price("key_requests", KEY_REQUESTS) + price("secrets", SECRETS),
            0,
        ),
    ]  # fmt: skip


def _ingestion(traffic: Traffic, price: Prices) -> Iterator[Line]:
    requests = traffic.events / traffic.batch
    yield Line("API Gateway", 0, price("api_requests", requests))
    yield Line("WAF", price("waf_acl", 1) + price("waf_rule", RULES), price("waf_requests", requests))


def _streams(traffic: Traffic, price: Prices) -> Line:
    puts = traffic.events * (1 + HIGH_INTENT_SHARE)
    if not traffic.on_demand:
        least = price("shard_hours", 2 * HOURS) + price("retention_shard_hours", 2 * HOURS)
        more = (traffic.shards - 1) * HOURS
        units = price("put_units", puts * math.ceil(traffic.event_bytes / (25 * 1024)))
        return Line("Kinesis", least, price("shard_hours", more) + price("retention_shard_hours", more) + units)
    gigabytes = puts * math.ceil(traffic.event_bytes / 1024) * 1024 / GB
    read = gigabytes * CONSUMERS
    kept = gigabytes / DAYS  # at any time, of the second day
    moved = price("stream_in_gb", gigabytes) + price("stream_out_gb", read) + price("retention_gb_month", kept)
    return Line("Kinesis", price("stream_hours", 2 * HOURS), moved)


def _firehose(traffic: Traffic, price: Prices) -> Line:
    rounded = math.ceil(traffic.event_bytes / 5120) * 5120
    gigabytes = traffic.events * (1 + HIGH_INTENT_SHARE) * rounded / GB
    return Line("Firehose", 0, price("firehose_gb", gigabytes) + price("firehose_conversion_gb", gigabytes))


def _functions(traffic: Traffic, price: Prices) -> Line:
    """Each is called for a full batch, or for what has come in its window: a minute, a second, a second."""
    events, seconds = traffic.events, DAYS * 86_400 * traffic.shards
    calls = (
        (ENRICHMENT, max(events * traffic.event_bytes / MB, min(events, seconds / 60))),
        (LAST_ACCESS, max(events / traffic.last_access_batch, min(events, seconds))),
        (HIGH_INTENT, max(events / 500, min(events, seconds))),
    )
    cost = sum(
        price("lambda_requests", count)
        + price("lambda_gb_seconds", function.seconds(count, events) * function.megabytes / 1024)
        for function, count in calls
    )
    timed = (12 + 60) * HOURS  # data_update every five minutes, scale_shards every minute, half a second of half a GB
    return Line("Lambda", price("lambda_requests", timed) + price("lambda_gb_seconds", timed * 0.25), cost)


def _lake(traffic: Traffic, price: Prices) -> Iterator[Line]:
    gigabytes = traffic.events * traffic.event_bytes * STORED_BYTES / GB
    files = FILES_A_MINUTE * 60 * HOURS
    requests = price("s3_puts", files) + price("s3_gets", files * OBJECT_READS)
    yield Line("S3, a month's events for a month", requests, price("s3_gb_month", gigabytes))
    yield Line("Glue crawlers", price("glue_dpu_hours", CRAWLS * CRAWL_HOURS * CRAWL_DPUS * DAYS), 0)
    rpu_hours = 8 * DAYS / 60
    yield Line(
        "Redshift Serverless",
        price("redshift_rpu_hours", rpu_hours * REDSHIFT_MINUTES),
        price("redshift_rpu_hours", rpu_hours * REDSHIFT_MINUTES_PER_MILLION * traffic.events_per_day / 1e6),
    )
    yield Line("Athena", 0, price("athena_tb", gigabytes / 1024))  # each event is scanned once


def _stores(price: Prices) -> Iterator[Line]:
    yield Line("ElastiCache", price("redis_node_hours", HOURS), 0)
    yield Line("Aurora", price("acu_hours", HOURS / 2), 0)
    yield Line("NAT gateway", price("nat_hours", HOURS) + price("nat_gb", 5), 0)


def per_million(lines: Sequence[Line], traffic: Traffic) -> float:
    """Dollars for a million events, all parts together."""
    return sum(line.total for line in lines) / traffic.events * 1e6


@click.command()
@click.option("--events-per-day", type=Amount(1, MOST_EVENTS), help="Such as 1000000.")
@click.option("--batch", default=1, show_default=True, type=click.IntRange(1, 500), help="Events a request.")
@click.option("--event-bytes", default=460, show_default=True, type=click.IntRange(1, MB), help="With the envelope.")
@click.option("--on-demand", is_flag=True, help="Kinesis on demand instead of by shards.")
@click.option("--last-access-batch", default=10, show_default=True, type=click.IntRange(1), help="Events a call.")
@click.option("--region", help="Whose prices; those of us-east-1 are known.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--tables", "as_tables", is_flag=True, help="Print the tables of docs/cost.md.")
def cost(
    events_per_day: float | None,
    batch: int,
    event_bytes: int,
    on_demand: bool,
    last_access_batch: int,
    region: str | None,
    as_json: bool,
    as_tables: bool,
) -> None:
    """Estimate a month on AWS at list prices, by part: what stands still costs, and what events add."""
    price = Prices()
    if as_tables:
        click.echo("\n\n".join(tables(price).values()))
        return
    if region not in (None, price.sheet["region"]):
        raise click.UsageError(f"infra/prices.json has the prices of {price.sheet['region']}, not of {region}")
    if events_per_day is None:
        raise click.UsageError("how many --events-per-day?")
    traffic = Traffic(events_per_day, batch, event_bytes, on_demand, last_access_batch)
    lines = bill(traffic, price)
    if as_json:
        click.echo(json.dumps(_document(traffic, lines, price)))
        return
    sizes = f"{batch} a request (--batch), {event_bytes} bytes each (--event-bytes)"
    click.echo(f"{events_per_day:,.0f} events a day, {sizes}")
    table = Table("part", "fixed", "by events", "per million")
    for line in (*lines, _sum(lines)):
        each = line.total / traffic.events * 1e6
        table.add_row(line.part, f"${line.fixed:,.2f}", f"${line.variable:,.2f}", f"${each:,.3f}")
    Console().print(table)
    click.echo(f"USD a month, list prices of {price.sheet['region']} as read on {price.sheet['read']}; docs/cost.md")


def tables(price: Prices) -> dict[str, str]:
    """The tables of docs/cost.md, by what they are about."""
    return {
        "parts": _parts_table(price),
        "batches": _batches_table(price),
        "published": _published_table(price),
        "prices": _prices_table(price),
    }


def _parts_table(price: Prices) -> str:
    rates = [Traffic(rate * 86_400, 100) for rate in PUBLISHED]
    bills = [bill(traffic, price) for traffic in rates]
    rows = [
        [lines[0].part, *(f"{line.fixed:,.0f} + {line.variable:,.0f}" for line in lines)]
        for lines in zip(*(([*each, _sum(each)]) for each in bills), strict=True)
    ]
    return _markdown(["USD a month, fixed + by events", *(f"{rate:,} events/s" for rate in PUBLISHED)], rows)


def _batches_table(price: Prices) -> str:
    rows = []
    for rate in PUBLISHED:
        for on_demand in (False, True):
            each = [Traffic(rate * 86_400, batch, on_demand=on_demand) for batch in BATCHES]
            costs = [f"{per_million(bill(traffic, price), traffic):.2f}" for traffic in each]
            rows.append([f"{rate:,}", "on demand" if on_demand else "shards", *costs])
    heads = ["1 event a request", *(f"{batch} events a request" for batch in BATCHES[1:])]
    return _markdown(["events/s", "Kinesis", *heads], rows)


def _published_table(price: Prices) -> str:
    rows = []
    for rate, published in PUBLISHED.items():
        traffic = Traffic(rate * 86_400, 100, last_access_batch=100)
        ours = bill(traffic, price)
        events = sum(line.variable for line in ours) / traffic.events * 1e6
        rows.append([f"{rate:,}", f"{published:.2f}", f"{per_million(ours, traffic):.2f}", f"{events:.2f}"])
    return _markdown(["events/s", "AWS's solution", "ours, all parts", "ours, what events add"], rows)


def _prices_table(price: Prices) -> str:
    rows = [
        [_plain(each["usd"]), each["unit"], f"[list]({each['page']})", _read_on(each["read_on"])]
        for each in price.sheet["prices"].values()
    ]
    return _markdown(["USD", "for a", "AWS's page", "number read on"], rows)


def _plain(dollars: float) -> str:
    return f"{dollars:.10f}".rstrip("0").rstrip(".")


def _read_on(page: str | None) -> str:
    return f"[{urlsplit(page).hostname}]({page})" if page else "not read: from memory"


def _markdown(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _sum(lines: Sequence[Line]) -> Line:
    return Line("all", sum(line.fixed for line in lines), sum(line.variable for line in lines))


def _document(traffic: Traffic, lines: Sequence[Line], price: Prices) -> dict[str, Any]:
    return {
        "region": price.sheet["region"],
        "read": price.sheet["read"],
        "events_per_month": traffic.events,
        "parts": {line.part: {"fixed": line.fixed, "variable": line.variable} for line in lines},
        "total": _sum(lines).total,
        "per_million": per_million(lines, traffic),
    }
