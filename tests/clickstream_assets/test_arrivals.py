"""Arrivals on S3: what is told of them costs no more than may be fetched."""

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from clickstream_assets.ingestion.arrivals import MOST_FETCHED_BYTES, arrival_events, arrivals
from resources.aws.s3.lake import S3Lake
from streaming.edges.aws import client
from tests.aws_proxy import AwsProxy
from tests.landing import delivery, land
from tests.s3_lakes import BUCKET, make_s3_lake

FIRST = datetime(2026, 11, 20, 10, tzinfo=UTC)
FILE = f"repair-{'0' * 32}"  # a name of files that have one hour's records alone
HOURS = [FIRST + timedelta(hours=number) for number in range(4)]


@pytest.fixture
def proxy(aws: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[AwsProxy]:
    with AwsProxy(aws) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", proxy.address)
        yield proxy


@pytest.fixture
def landed(proxy: AwsProxy, tmp_path: Path) -> tuple[S3Lake, list[int]]:
    """A lake with a raw file an hour, and how many bytes each has."""
    lake = make_s3_lake(tmp_path)
    for number, hour in enumerate(HOURS):
        event = delivery(hour, "click", hour, user_id=os.urandom(1000 * (number + 1)).hex())
        land(lake, [event], FILE, enriched=False)
    return lake, [each["Size"] for each in client("s3").list_objects_v2(Bucket=BUCKET)["Contents"]]


def told(lake: S3Lake, most_fetched: int) -> dict[str, dict[str, Any]]:
    """What is told of each hour of raw events."""
    events = arrival_events(arrivals(lake), lake, most_fetched)
    return {
        str(event.partition): {name: value.value for name, value in event.metadata.items()}
        for event in events
        if isinstance(event, dg.AssetMaterialization)
    }


def fetched(proxy: AwsProxy) -> int:
    """How many landed files were asked for."""
    return sum(request.method == "GET" and FILE in request.path for request in proxy.requests)


def test_hours_are_looked_into_as_far_as_they_may_be_fetched(landed: tuple[S3Lake, list[int]], proxy: AwsProxy) -> None:
    lake, sizes = landed

    found = told(lake, sum(sizes[:2]) + 2_000_000)

    assert [each["bytes"] for each in found.values()] == sizes
    assert [each["files"] for each in found.values()] == [1, 1, 1, 1]
    assert ["preview" in each for each in found.values()] == [True, True, False, False]
    assert "JSON, gzip" in next(iter(found.values()))["storage"]
    assert fetched(proxy) == 2


def test_what_is_big_is_told_without_a_look(landed: tuple[S3Lake, list[int]], proxy: AwsProxy) -> None:
    lake, sizes = landed

    found = told(lake, 0)

    assert [each["bytes"] for each in found.values()] == sizes
    assert fetched(proxy) == 0
    assert all("preview" in each for each in told(lake, MOST_FETCHED_BYTES).values())
