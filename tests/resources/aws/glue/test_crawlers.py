"""Crawlers as Glue's own service model has them: due or not, running already, failing, hanging; what they found."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber

from resources.aws.glue.crawlers import CRAWL_EVERY, CrawlFailedError, GlueCrawlers, crawled_files, drifts
from resources.aws.glue.tables import table_input
from resources.crawler import Drift
from streaming.domain.schema_drift import DriftKind
from streaming.domain.stack import Stack
from streaming.domain.tables import ENRICHED_LANDING, RAW_EVENTS, Table

NOW = datetime.now(UTC)
RAW, LANDING = "clickstream-raw", "clickstream-landing"
ROOT = "s3://lake"


@pytest.fixture
def glue() -> Iterator[Stubber]:
    credentials = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
    with Stubber(boto3.client("glue", region_name="us-east-1", **credentials)) as stubber:
        yield stubber
        stubber.assert_no_pending_responses()


def crawlers(glue: Stubber, timeout_seconds: float = 60) -> GlueCrawlers:
    return GlueCrawlers(Stack("clickstream"), glue.client, timeout_seconds, poll_seconds=0.01)


def asked(glue: Stubber, name: str, state: str, last: dict[str, Any] | None = None) -> None:
    crawler = {"Name": name, "State": state} | ({"LastCrawl": last} if last else {})
    glue.add_response("get_crawler", {"Crawler": crawler}, {"Name": name})


def ended(age: timedelta = timedelta(0), status: str = "SUCCEEDED", **told: str) -> dict[str, Any]:
    return {"Status": status, "StartTime": NOW - age, **told}


def started(glue: Stubber, name: str) -> None:
    glue.add_response("start_crawler", {}, {"Name": name})


def test_those_that_are_due_are_started_and_awaited(glue: Stubber) -> None:
    asked(glue, RAW, "READY")
    asked(glue, LANDING, "READY", ended(CRAWL_EVERY + timedelta(minutes=1)))
    started(glue, RAW)
    started(glue, LANDING)
    for state in ("RUNNING", "STOPPING"):
        asked(glue, RAW, state)
    asked(glue, RAW, "READY", ended())
    asked(glue, LANDING, "READY", ended())

    assert crawlers(glue).crawl() == [RAW, LANDING]


def test_a_crawl_of_today_is_enough(glue: Stubber) -> None:
    asked(glue, RAW, "READY", ended(timedelta(hours=1)))
    asked(glue, LANDING, "READY", ended(timedelta(hours=1)))

    assert crawlers(glue).crawl() == []


def test_one_that_somebody_else_started_is_waited_for(glue: Stubber) -> None:
    asked(glue, RAW, "RUNNING", ended(timedelta(hours=1)))
    asked(glue, LANDING, "READY", ended())
    glue.add_client_error("start_crawler", "CrawlerRunningException", "Crawler is running")
    asked(glue, RAW, "READY", ended())

    assert crawlers(glue).crawl() == [RAW]


@pytest.mark.parametrize("status", ["FAILED", "CANCELLED"])
@pytest.mark.parametrize("age", [CRAWL_EVERY + timedelta(minutes=1), timedelta(minutes=10)])
def test_one_that_fails_is_started_once_a_day_and_says_why_and_where_its_log_is(
    glue: Stubber, status: str, age: timedelta
) -> None:
    said = {"ErrorMessage": "no access to raw/", "LogGroup": "/aws-glue/crawlers", "LogStream": RAW}
    asked(glue, RAW, "READY", ended(age, status, **said))
    asked(glue, LANDING, "READY", ended())
    if age > CRAWL_EVERY:
        started(glue, RAW)
        asked(glue, RAW, "READY", ended(status=status, **said))

    with pytest.raises(CrawlFailedError) as told:
        crawlers(glue).crawl()

    assert str(told.value) == (
        f"crawler {RAW}: {status}: no access to raw/; log: https://us-east-1.console.aws.amazon.com/cloudwatch/home"
        f"?region=us-east-1#logsV2:log-groups/log-group/$252Faws-glue$252Fcrawlers/log-events/{RAW}"
    )


def test_one_that_hangs_is_given_up_on(glue: Stubber) -> None:
    asked(glue, RAW, "RUNNING")
    asked(glue, LANDING, "READY", ended())
    glue.add_client_error("start_crawler", "CrawlerRunningException", "Crawler is running")
    asked(glue, RAW, "RUNNING")

    with pytest.raises(CrawlFailedError, match=r"clickstream-raw is still RUNNING after 0 s"):
        crawlers(glue, timeout_seconds=0).crawl()


def found(table: Table, **types: str) -> dict[str, Any]:
    """What a crawler would write of a table's files; `types` replace columns or, where empty, take them away."""
    columns = {each["Name"]: each["Type"] for each in table_input(table, ROOT)["StorageDescriptor"]["Columns"]} | types
    return {
        "Name": f"crawled_{table.prefix}",
        "UpdateTime": NOW,
        "Parameters": {"objectCount": "7"},
        "StorageDescriptor": {
            "Location": f"{ROOT}/{table.prefix}/",
            "Columns": [{"Name": name, "Type": type_} for name, type_ in columns.items() if type_],
        },
    }


def told(*crawled: dict[str, Any]) -> list[tuple[str, str, DriftKind, str, str]]:
    return [each[:3] + each[4:6] for each in drifts([RAW_EVENTS, ENRICHED_LANDING], crawled, ROOT)]


def test_landing_that_is_as_declared_has_no_drift() -> None:
    assert told(found(ENRICHED_LANDING)) == []


def test_drift_is_told_as_it_is_locally() -> None:
    details = "struct<time_on_data:bigint,percent_viewed:double,product_id:string,price:decimal(18,2),coupon:string>"
    crawled = found(ENRICHED_LANDING, additional_data=details, city="", color="array<struct<a:int>>")

    assert told(crawled) == [
        ("enriched_landing", "additional_data.product_id", DriftKind.CHANGED_TYPE, "BIGINT", "VARCHAR"),
        ("enriched_landing", "city", DriftKind.MISSING_COLUMN, "VARCHAR", ""),
        ("enriched_landing", "additional_data.coupon", DriftKind.NEW_COLUMN, "", "VARCHAR"),
        ("enriched_landing", "color", DriftKind.NEW_COLUMN, "", "STRUCT[]"),
    ]
    (first, *_) = drifts([ENRICHED_LANDING], [crawled], ROOT)
    assert isinstance(first, Drift)
    assert (first.files, first.example_file, first.since, first.is_error) == (7, "enriched_landing", NOW, True)


def test_the_classifier_shows_raw_events_themselves() -> None:
    """A crawler whose classifier says `$.event` tells the event's keys; one without tells the envelope's."""
    envelope = found(RAW_EVENTS, event="struct<user_id:string,coupon:string>")
    event = found(RAW_EVENTS) | {
        "StorageDescriptor": {
            "Location": f"{ROOT}/raw",
            "Columns": [{"Name": "user_id", "Type": "int"}, {"Name": "coupon", "Type": "string"}],
        }
    }

    assert told(envelope) == [("raw_events", "event.coupon", DriftKind.NEW_COLUMN, "", "string")]
    assert told(event) == [
        ("raw_events", "event.user_id", DriftKind.CHANGED_TYPE, "string", "integer"),
        ("raw_events", "event.coupon", DriftKind.NEW_COLUMN, "", "string"),
    ]


def test_other_places_are_not_compared() -> None:
    elsewhere = found(ENRICHED_LANDING, city="") | {
        "StorageDescriptor": {"Location": f"{ROOT}/enriched", "Columns": []}
    }

    assert told(elsewhere) == []


def test_a_crawl_counts_what_it_read() -> None:
    crawled = [found(RAW_EVENTS), found(ENRICHED_LANDING)]

    assert crawled_files(crawled, [RAW]) == (14, 14, 0)
    assert crawled_files(crawled, []) == (14, 0, 0)
