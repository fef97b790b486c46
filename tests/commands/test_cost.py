"""`./run cost`: arithmetic one can follow, and a page that says what the command says."""

import json
import math
from dataclasses import replace

import pytest
from click.testing import CliRunner

from commands.cli import cli
from commands.cost import (
    ALARM_METRICS,
    METRICS_ASKED,
    OWN_METRICS,
    PRICES,
    SECRETS,
    Line,
    Prices,
    Traffic,
    bill,
    per_million,
    tables,
)
from resources.aws import firehose
from streaming.handlers.scale_shards import OPEN_SHARDS
from streaming.runtime.health.alerts import CONDITIONS
from streaming.settings import ROOT
from tests.infra.templates import found, resources

MILLION_A_MONTH = Traffic(1e6 / 30.4)


@pytest.fixture
def price() -> Prices:
    return Prices()


def line(part: str, traffic: Traffic, price: Prices) -> Line:
    return next(line for line in bill(traffic, price) if line.part == part)


def test_alarms_and_secrets_are_counted_as_the_templates_have_them() -> None:
    assert (
        sum(1 for _, _, alarm in resources("AWS::CloudWatch::Alarm") for _ in found(alarm, "MetricName"))
        == ALARM_METRICS
    )
    assert len(list(resources("AWS::SecretsManager::Secret"))) == SECRETS
    alerts = [condition for condition in CONDITIONS if not condition.is_aws_own]
    assert len(alerts) + len([OPEN_SHARDS]) == OWN_METRICS
    assert 4 * 60 + len(firehose._METRICS) * (2 * 60 + 12 + 4) == METRICS_ASKED


def test_requests_are_what_api_gateway_and_waf_count(price: Prices) -> None:
    for batch in (1, 100):
        traffic = replace(MILLION_A_MONTH, batch=batch)
        assert line("API Gateway", traffic, price).variable == pytest.approx(3.5 / batch)
        assert line("WAF", traffic, price).variable == pytest.approx(0.6 / batch)
    assert line("WAF", MILLION_A_MONTH, price).fixed == 9


def test_requests_cost_less_in_higher_tiers(price: Prices) -> None:
    assert price("api_requests", 333e6) == pytest.approx(1165.5)
    assert price("api_requests", 1e9) == pytest.approx(1165.5 + 667 * 2.8)
    assert price("api_requests", 21e9) == pytest.approx(1165.5 + 667 * 2.8 + 19_000 * 2.38 + 1_000 * 1.51)


def test_firehose_counts_five_kilobytes_a_record(price: Prices) -> None:
    gigabytes = 1.1e6 * 5 * 1024 / 1024**3
    for event_bytes in (1, 460, 5120):
        firehose = line("Firehose", replace(MILLION_A_MONTH, event_bytes=event_bytes), price)
        assert firehose.total == pytest.approx(gigabytes * 0.047)
    larger = line("Firehose", replace(MILLION_A_MONTH, event_bytes=5121), price)
    assert larger.total == pytest.approx(2 * gigabytes * 0.047)


@pytest.mark.parametrize(("per_second", "event_bytes", "shards"), [(1, 460, 1), (1000, 460, 4), (1000, 4096, 24)])
def test_shards_by_records_and_by_bytes(per_second: int, event_bytes: int, shards: int) -> None:
    assert Traffic(per_second * 86_400, event_bytes=event_bytes).shards == shards


def test_kinesis_by_shards_and_on_demand(price: Prices) -> None:
    shards = line("Kinesis", MILLION_A_MONTH, price)
    assert shards.fixed == pytest.approx(2 * 730 * 0.035)
    assert shards.variable == pytest.approx(1.1 * 0.014)
    on_demand = line("Kinesis", replace(MILLION_A_MONTH, on_demand=True), price)
    gigabytes = 1.1e6 * 1024 / 1024**3
    assert on_demand.fixed == pytest.approx(2 * 730 * 0.04)
    assert on_demand.variable == pytest.approx(gigabytes * (0.08 + 3 * 0.04 + 0.1 / 30.4))


def test_more_events_cost_more_and_each_of_them_less(price: Prices) -> None:
    bills = [(traffic, bill(traffic, price)) for traffic in (Traffic(10**n, 100) for n in range(3, 10))]
    totals = [sum(line.total for line in lines) for _, lines in bills]
    each = [per_million(lines, traffic) for traffic, lines in bills]
    assert totals == sorted(totals)
    assert each == sorted(each, reverse=True)


def test_every_price_has_a_unit_and_its_page_and_is_used(price: Prices) -> None:
    used = set()

    class Noting(Prices):
        def __call__(self, name: str, amount: float) -> float:
            used.add(name)
            return super().__call__(name, amount)

    for on_demand in (False, True):
        bill(replace(MILLION_A_MONTH, on_demand=on_demand), Noting())
    assert used == price.sheet["prices"].keys()
    for each in price.sheet["prices"].values():
        assert each["page"].startswith("https://aws.amazon.com/")
        assert each["unit"]
        assert each["usd"] > 0


def test_the_command_says_so_as_a_table_and_as_json() -> None:
    told = CliRunner().invoke(cli, ["cost", "--events-per-day", "1000000"]).output
    assert "Firehose" in told
    assert "list prices of us-east-1 as read on 2026-11-23" in told
    document = json.loads(CliRunner().invoke(cli, ["cost", "--events-per-day", "1000000", "--json"]).output)
    assert document["total"] == pytest.approx(sum(math.fsum(part.values()) for part in document["parts"].values()))
    assert document["per_million"] == pytest.approx(document["total"] / 30.4)


def test_prices_of_another_region_are_not_made_up() -> None:
    answer = CliRunner().invoke(cli, ["cost", "--events-per-day", "1000000", "--region", "eu-central-1"])
    assert answer.exit_code == 2
    assert "has the prices of us-east-1, not of eu-central-1" in answer.output


@pytest.mark.parametrize("events", ["inf", "nan", "1e308", "0"])
def test_events_that_nobody_can_count_are_refused(events: str) -> None:
    assert CliRunner().invoke(cli, ["cost", "--events-per-day", events, "--json"]).exit_code == 2


def test_an_event_is_no_larger_than_kinesis_takes() -> None:
    sizes = {
        size: CliRunner().invoke(cli, ["cost", "--events-per-day", "1e12", "--event-bytes", str(size), "--json"])
        for size in (1024**2, 1024**2 + 1)
    }
    assert [answer.exit_code for answer in sizes.values()] == [0, 2]
    assert math.isfinite(json.loads(sizes[1024**2].output)["total"])


def test_the_assumptions_come_first() -> None:
    told = CliRunner().invoke(cli, ["cost", "--events-per-day", "1000000"]).output
    assert told.startswith("1,000,000 events a day, 1 a request (--batch), 460 bytes each (--event-bytes)\n")


def test_the_page_says_what_the_command_says(price: Prices) -> None:
    page = (ROOT / "docs" / "cost.md").read_text()
    missing = [name for name, table in tables(price).items() if table not in page]
    assert not missing, "write these of `./run cost --tables` into docs/cost.md"
    assert json.loads(PRICES.read_text())["read"] in page
