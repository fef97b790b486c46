"""The catalog on Glue, against an emulator of its API: tables, partitions and views, made and kept."""

import base64
import json
from dataclasses import replace
from typing import Any

import boto3
import pytest
import sqlglot

from clickstream_assets.catalog import CATALOGUED, ROLLED_UP
from resources.aws.glue.catalog import GlueCatalog
from resources.aws.glue.partitions import GluePartitions, Published
from resources.catalog import View
from streaming.domain.stack import Stack
from streaming.domain.tables import EVENT_LEDGER, LATEST_SEARCH_BY_USER, Column, Table
from tests.aws_proxy import Answer, AwsProxy, Faults, Forward, Request, lose_answer, refuse

DATABASE = "clickstream_test"
BUCKET = "lake"
VALUES = ["2026", "11", "20", "10"]


@pytest.fixture
def glue(aws: str) -> Any:
    boto3.client("s3").create_bucket(Bucket=BUCKET)
    return boto3.client("glue")


@pytest.fixture
def catalog(glue: Any) -> GlueCatalog:
    return GlueCatalog(Stack("clickstream-test"), BUCKET)


def ledger(*columns: Column) -> Table:
    """The ledger as an earlier release may have declared it."""
    return Table("event_ledger", "event_ledger", "parquet", "hour", "one row per hour", columns)


def published(glue: Any, name: str) -> dict[str, Any]:
    """A partition as publishing leaves it."""
    descriptor = glue.get_table(DatabaseName=DATABASE, Name=name)["Table"]["StorageDescriptor"]
    partition = {
        "Values": VALUES,
        "Parameters": {"as_of": "17"},
        "StorageDescriptor": descriptor | {"Location": f"s3://{BUCKET}/event_ledger/attempt/"},
    }
    glue.create_partition(DatabaseName=DATABASE, TableName=name, PartitionInput=partition)
    return partition


def test_every_table_and_view_is_there(catalog: GlueCatalog, glue: Any) -> None:
    refreshed = catalog.refresh(CATALOGUED, ROLLED_UP)

    there = glue.get_paginator("get_tables").paginate(DatabaseName=DATABASE).search("TableList[].Name")
    assert sorted(there) == sorted(refreshed.views)
    assert set(refreshed.views) == {each.name for each in (*CATALOGUED, *ROLLED_UP)} | {"schema_drift"}
    assert refreshed.empty == [table.name for table in CATALOGUED]
    assert refreshed.drifts == []


def test_tables_with_files_are_not_empty(catalog: GlueCatalog, glue: Any) -> None:
    boto3.client("s3").put_object(Bucket=BUCKET, Key="event_ledger/year=2026/1.parquet", Body=b"")

    assert "event_ledger" not in catalog.refresh(CATALOGUED).empty


def test_refreshing_again_changes_nothing(catalog: GlueCatalog, glue: Any) -> None:
    catalog.refresh(CATALOGUED, ROLLED_UP)
    published(glue, "event_ledger")

    catalog.refresh(CATALOGUED, ROLLED_UP)

    for name in ("event_ledger", "raw_events", "events_by_type_all_time", "schema_drift"):
        assert len(glue.get_table_versions(DatabaseName=DATABASE, TableName=name)["TableVersions"]) == 1
    (partition,) = glue.get_partitions(DatabaseName=DATABASE, TableName="event_ledger")["Partitions"]
    assert partition["StorageDescriptor"]["Location"] == f"s3://{BUCKET}/event_ledger/attempt/"


def test_partitions_are_left_to_who_publishes_them(catalog: GlueCatalog, glue: Any) -> None:
    """One that was read and written back would undo what is published in between."""
    hour = Column("arrival_hour", "TIMESTAMP", "start of the hour")
    catalog.refresh([ledger(hour)])
    published(glue, "event_ledger")
    (before,) = glue.get_partitions(DatabaseName=DATABASE, TableName="event_ledger")["Partitions"]

    catalog.refresh([ledger(hour, Column("state", "VARCHAR", "open, balanced or red"))])

    columns = glue.get_table(DatabaseName=DATABASE, Name="event_ledger")["Table"]["StorageDescriptor"]["Columns"]
    assert [column["Name"] for column in columns] == ["arrival_hour", "state"]
    assert glue.get_partitions(DatabaseName=DATABASE, TableName="event_ledger")["Partitions"] == [before]


def test_unloaded_partitions_keep_the_columns_of_their_files(catalog: GlueCatalog, glue: Any) -> None:
    def sales(*names: str) -> Table:
        columns = tuple(Column(name, "BIGINT", "how many") for name in names)
        return Table("sales", "aggregated/sales", "csv", "day", "one row per day", columns)

    catalog.refresh([sales("sold")])
    descriptor = glue.get_table(DatabaseName=DATABASE, Name="sales")["Table"]["StorageDescriptor"]
    partition = {"Values": ["2026-11-20"], "StorageDescriptor": descriptor}
    glue.create_partition(DatabaseName=DATABASE, TableName="sales", PartitionInput=partition)

    catalog.refresh([sales("seen", "sold")])

    (kept,) = glue.get_partitions(DatabaseName=DATABASE, TableName="sales")["Partitions"]
    assert [column["Name"] for column in kept["StorageDescriptor"]["Columns"]] == ["sold"]


def test_a_published_table_without_partitions_stays_where_it_was_pointed(catalog: GlueCatalog, glue: Any) -> None:
    catalog.refresh([LATEST_SEARCH_BY_USER])
    table = glue.get_table(DatabaseName=DATABASE, Name=LATEST_SEARCH_BY_USER.name)["Table"]
    moved = table["StorageDescriptor"] | {"Location": f"s3://{BUCKET}/reports/latest_search_by_user/attempt/"}
    changed = {"Name": table["Name"], "Description": "of another release", "StorageDescriptor": moved}
    glue.update_table(DatabaseName=DATABASE, TableInput=changed | {"Parameters": {"as_of": "17"}})

    catalog.refresh([LATEST_SEARCH_BY_USER])

    kept = glue.get_table(DatabaseName=DATABASE, Name=LATEST_SEARCH_BY_USER.name)["Table"]
    assert kept["StorageDescriptor"]["Location"] == moved["Location"]
    assert kept["Parameters"]["as_of"] == "17"
    assert kept["Description"] == LATEST_SEARCH_BY_USER.comment


def catalog_behind(proxy: AwsProxy, monkeypatch: pytest.MonkeyPatch) -> GlueCatalog:
    with monkeypatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", proxy.address)
        return GlueCatalog(Stack("clickstream-test"), BUCKET)


def test_what_is_published_while_a_table_is_brought_up_stays(
    catalog: GlueCatalog, glue: Any, aws: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = LATEST_SEARCH_BY_USER
    catalog.refresh([replace(table, grain="of another release")])
    published = Published(f"s3://{BUCKET}/reports/latest_search_by_user/attempt/", "report", 17, 18)

    def outrun(request: Request, forward: Forward) -> Answer | None:
        GluePartitions(DATABASE, glue).point(table, None, published)
        return refuse(400, "ConcurrentModificationException")(request, forward)  # for its version is another

    with AwsProxy(aws, Faults(outrun, 1, lambda request: request.operation == "UpdateTable")) as proxy:
        catalog_behind(proxy, monkeypatch).refresh([table])

    assert GluePartitions(DATABASE, glue).find(table, None) == published
    assert glue.get_table(DatabaseName=DATABASE, Name=table.name)["Table"]["Description"] == table.comment


def test_a_table_that_was_made_although_no_answer_came_is_there(
    glue: Any, aws: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with AwsProxy(aws, Faults(lose_answer, 1, lambda request: request.operation == "CreateTable")) as proxy:
        catalog_behind(proxy, monkeypatch).refresh([EVENT_LEDGER])

    assert glue.get_table(DatabaseName=DATABASE, Name=EVENT_LEDGER.name)["Table"]["Description"] == EVENT_LEDGER.comment


@pytest.mark.parametrize("view", ROLLED_UP, ids=lambda view: view.name)
def test_views_are_athenas(view: View, catalog: GlueCatalog, glue: Any) -> None:
    catalog.refresh([], [view])

    kept = glue.get_table(DatabaseName=DATABASE, Name=view.name)["Table"]
    told = json.loads(base64.b64decode(kept["ViewOriginalText"].removeprefix("/* Presto View: ").removesuffix(" */")))
    assert (kept["TableType"], kept["Parameters"]["presto_view"], told["schema"]) == ("VIRTUAL_VIEW", "true", DATABASE)
    assert [column["name"] for column in told["columns"]] == [column.name for column in view.columns]
    statement = sqlglot.parse_one(told["originalSql"], read="athena")
    assert [each.alias_or_name for each in statement.expressions] == [column.name for column in view.columns]
    assert "GROUP BY ALL" not in told["originalSql"]


def test_comments_are_kept(catalog: GlueCatalog, glue: Any) -> None:
    catalog.refresh([EVENT_LEDGER])

    kept = glue.get_table(DatabaseName=DATABASE, Name=EVENT_LEDGER.name)["Table"]
    assert kept["Description"] == EVENT_LEDGER.comment
    assert [column["Comment"] for column in kept["StorageDescriptor"]["Columns"]] == [
        column.comment for column in EVENT_LEDGER.columns
    ]
