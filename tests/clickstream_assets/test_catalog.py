"""The asset `catalog` in real runs: what its checks tell of drift, and that they stop nothing."""

import gzip
import json

import boto3
import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq

from clickstream_assets.catalog import CATALOGUED, DRIFT_CHECKS, catalog
from clickstream_assets.catch_up import CatchUp
from resources.aws.glue.catalog import GlueCatalog
from resources.lake import DirectoryLake, partition_file
from streaming.domain.layout import hour_of, hour_prefix
from streaming.domain.schema_drift import DriftKind
from streaming.domain.stack import Stack
from streaming.domain.tables import FLATTENED_EVENTS, RAW_EVENTS
from tests.clickstream_assets.conftest import NOW, caught_up
from tests.clickstream_assets.test_definitions import LONG_AFTER
from tests.landing import delivery, land

HOUR = hour_of(NOW)


def refresh(definitions: dg.Definitions, instance: dg.DagsterInstance) -> dict[str, dg.AssetCheckEvaluation]:
    result = definitions.resolve_job_def("refresh_catalog").execute_in_process(instance=instance)
    assert result.success
    return {
        each.check_name: each for each in result.get_asset_check_evaluations() if each.asset_key.path == ["catalog"]
    }


def rows(evaluation: dg.AssetCheckEvaluation) -> list[dict[str, object]]:
    return [dict(record.data) for record in evaluation.metadata["drift"].value.records]  # type: ignore[union-attr]


def test_every_kind_of_drift_has_its_check() -> None:
    assert sorted(kind for check in DRIFT_CHECKS for kind in check.kinds) == sorted(DriftKind)


def test_what_the_platform_writes_is_as_declared(
    catch_up: CatchUp, definitions: dg.Definitions, instance: dg.DagsterInstance, lake: DirectoryLake
) -> None:
    """Delivery's files, sealed, failed, flattened and unloaded ones: each table that a run writes is looked at."""
    land(lake, [delivery(NOW, f"click-{number}", NOW) for number in range(5)], "one")
    catch_up.run(lake, caught_up(LONG_AFTER))
    evaluations = refresh(definitions, instance)
    assert sorted(evaluations) == sorted(check.name for check in DRIFT_CHECKS)
    assert all(evaluation.passed for evaluation in evaluations.values()), evaluations
    record = instance.get_latest_materialization_event(dg.AssetKey("catalog"))
    assert record
    assert record.asset_materialization
    metadata = record.asset_materialization.metadata
    assert metadata["files"].value > len(CATALOGUED) / 2
    assert (metadata["files_read"].value, metadata["files_left"].value) == (0, 0)  # catching up had read them


def test_drift_is_told_until_it_is_gone(
    catch_up: CatchUp, definitions: dg.Definitions, instance: dg.DagsterInstance, lake: DirectoryLake
) -> None:
    land(lake, [delivery(NOW, "a", NOW)], "one")
    catch_up.run(lake, caught_up(LONG_AFTER))
    flattened = lake.path(partition_file(FLATTENED_EVENTS, HOUR))
    mended = flattened.read_bytes()
    events = pq.ParquetFile(flattened).read()
    text = pa.array(["dear"], pa.string())
    odd = events.set_column(events.schema.get_field_index("price"), "price", text).drop_columns("city")
    pq.write_table(odd.append_column("color", text), flattened)
    sent = json.dumps({"record_id": "0" * 32, "arrival_timestamp": "2026-11-20T10:06:00Z", "client_ip": None}
        | {"event": {"additional_data": {"coupon": "X"}}})  # fmt: skip
    path = f"{hour_prefix(RAW_EVENTS.prefix, HOUR)}/two.json.gz"
    lake.publish(path, gzip.compress(sent.encode() + b"\nnot JSON\n"))

    evaluations = refresh(definitions, instance)

    told = {
        name: [(row["table_name"], row["column_name"], row["declared"], row["files"]) for row in rows(evaluation)]
        for name, evaluation in evaluations.items()
    }
    assert told == {
        "files_have_no_new_columns": [
            ("raw_events", "event.additional_data.coupon", "", 1),
            ("flattened_events", "color", "", 1),
        ],
        "files_lack_no_columns": [("flattened_events", "city", "VARCHAR", 1)],
        "types_are_as_declared": [("flattened_events", "price", "DECIMAL(18,2)", 1)],
        "files_can_be_read": [("raw_events", "", "", 1)],
    }
    warn, error = dg.AssetCheckSeverity.WARN, dg.AssetCheckSeverity.ERROR
    assert [evaluations[check.name].severity for check in DRIFT_CHECKS] == [warn, error, error, error]
    assert not any(evaluation.passed or evaluation.blocking for evaluation in evaluations.values())
    (missing,) = rows(evaluations["files_lack_no_columns"])
    assert missing["example_file"] == str(flattened.relative_to(lake.root))
    assert evaluations["files_lack_no_columns"].metadata["what_to_do"].value
    assert "flattened_events.city" in (evaluations["files_lack_no_columns"].description or "")

    flattened.write_bytes(mended)
    lake.path(path).unlink()
    assert all(evaluation.passed for evaluation in refresh(definitions, instance).values())


def test_columns_are_brought_up_although_the_crawlers_are_broken(aws: str) -> None:
    """There are none in this account, so Glue knows none to tell of."""
    boto3.client("s3").create_bucket(Bucket="lake")
    glue_catalog = GlueCatalog(Stack("clickstream"), "lake")
    ran = dg.materialize([catalog], resources={"catalog_database": glue_catalog}, raise_on_error=False)

    assert not ran.success
    there = boto3.client("glue").get_paginator("get_tables").paginate(DatabaseName="clickstream")
    assert {table.name for table in CATALOGUED} <= set(there.search("TableList[].Name"))
