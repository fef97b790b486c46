"""The catalog on Glue, against an emulator of its API: tables, partitions and views, made and kept."""

import base64
import json
from typing import Any

import boto3
import pytest
import sqlglot

from clickstream_assets.catalog import CATALOGUED, ROLLED_UP
from resources.aws.glue.catalog import GlueCatalog
from resources.catalog import View
from streaming.domain.stack import Stack
from streaming.domain.tables import EVENT_LEDGER, LATEST_SEARCH_BY_USER, Column, Table

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
