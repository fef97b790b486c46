"""Declared tables as Glue takes them: by its own service model, and by what their readers can do with them."""

import re

import pytest
from botocore.loaders import Loader
from botocore.model import ServiceModel
from botocore.validate import ParamValidator

from clickstream_assets.catalog import CATALOGUED
from resources.aws.glue.tables import hive_type, table_input
from streaming.domain.tables import (
    ENRICHED_EVENTS,
    EVENT_LEDGER,
    FLATTENED_EVENTS,
    LANDING,
    LATEST_SEARCH_BY_USER,
    RAW_EVENTS,
    Table,
)

ROOT = "s3://lake"
# Types that Athena, Redshift Spectrum and Spark have in common.
COMMON = re.compile(r"string|bigint|int|double|boolean|date|timestamp|binary|decimal\(\d+,\d+\)|array<.+>|struct<.+>")


@pytest.mark.parametrize("table", CATALOGUED, ids=lambda table: table.name)
def test_glue_takes_every_table(table: Table) -> None:
    glue = ServiceModel(Loader().load_service_model("glue", "service-2"), "glue")
    shape = glue.operation_model("CreateTable").input_shape

    taken = {"DatabaseName": "clickstream", "TableInput": table_input(table, ROOT)}

    assert shape is not None
    assert not ParamValidator().validate(taken, shape).has_errors()
    columns = taken["TableInput"]["StorageDescriptor"]["Columns"]  # type: ignore[index]
    assert [column["Name"] for column in columns] == list(table.column_names)
    assert all(COMMON.fullmatch(column["Type"]) and 0 < len(column["Comment"]) <= 255 for column in columns)


@pytest.mark.parametrize(
    ("sql", "hive"),
    [
        ("VARCHAR", "string"),
        ("JSON", "string"),
        ("DECIMAL(18,2)", "decimal(18,2)"),
        ("VARCHAR[]", "array<string>"),
        (
            "STRUCT(event_hour TIMESTAMP, price DECIMAL(18,2))[]",
            "array<struct<event_hour:timestamp,price:decimal(18,2)>>",
        ),
    ],
)
def test_types_are_hives(sql: str, hive: str) -> None:
    assert hive_type(sql) == hive


def test_partition_keys_can_be_filtered_as_numbers_and_days() -> None:
    by_hour = table_input(FLATTENED_EVENTS, ROOT)["PartitionKeys"]
    by_day = table_input(next(table for table in CATALOGUED if table.partition == "day"), ROOT)["PartitionKeys"]

    assert [(key["Name"], key["Type"]) for key in by_hour] == [(k, "int") for k in ("year", "month", "day", "hour")]
    assert [(key["Name"], key["Type"]) for key in by_day] == [("date", "date")]
    assert table_input(LATEST_SEARCH_BY_USER, ROOT)["PartitionKeys"] == []


def test_only_landing_is_projected() -> None:
    projected = {table.name for table in CATALOGUED if "projection.enabled" in table_input(table, ROOT)["Parameters"]}

    assert projected == {table.name for table in LANDING}
    template = table_input(RAW_EVENTS, ROOT)["Parameters"]["storage.location.template"]
    assert template == "s3://lake/raw/year=${year}/month=${month}/day=${day}/hour=${hour}/"


def test_a_moment_in_json_is_text_and_in_parquet_a_timestamp() -> None:
    def arrival(table: Table) -> str:
        columns = table_input(table, ROOT)["StorageDescriptor"]["Columns"]
        return next(str(column["Type"]) for column in columns if column["Name"] == "arrival_timestamp")

    assert arrival(RAW_EVENTS) == "string"
    assert arrival(ENRICHED_EVENTS) == "timestamp"


def test_files_lie_where_the_lake_has_them() -> None:
    assert table_input(EVENT_LEDGER, ROOT)["StorageDescriptor"]["Location"] == "s3://lake/event_ledger/"
