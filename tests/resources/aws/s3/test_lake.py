"""Publishing on S3: uploads under names of their own, one update of Glue, and what is out of use swept a day later."""

import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import dagster as dg
import pytest
from botocore.stub import Stubber

from resources.aws.glue.catalog import GlueCatalog
from resources.aws.glue.partitions import CatalogMissingError, GluePartitions, Published, key_of_values, values_of_key
from resources.aws.s3.lake import IN_USE, S3Lake, S3LakeResource
from resources.lake import written_partition
from resources.warehouse import DuckDBWarehouse, Source
from streaming.domain.stack import Stack
from streaming.domain.tables import CUSTOMER_PRICES, FLATTENED_EVENTS, LATEST_SEARCH_BY_USER, Table
from streaming.edges.aws import client
from tests.s3_lakes import BUCKET, STACK, date_object, keys, make_s3_lake

HOUR = datetime(2026, 11, 20, 9, tzinfo=UTC)
FOLDER = "flattened/year=2026/month=11/day=20/hour=09"
TABLES = (FLATTENED_EVENTS, CUSTOMER_PRICES, LATEST_SEARCH_BY_USER)


@pytest.fixture
def lake(aws: str, tmp_path: Path) -> S3Lake:
    return make_s3_lake(tmp_path / "lake", TABLES)


def publish(lake: S3Lake, text: bytes, table: Table = FLATTENED_EVENTS, key: date | None = HOUR) -> None:
    with lake.publishing(table, key) as staged:
        staged.path.write_bytes(text)


def content(lake: S3Lake, table: Table = FLATTENED_EVENTS, key: date | None = HOUR) -> bytes:
    file = written_partition(lake, table, key)
    return Path(file).read_bytes()


def partition() -> dict[str, Any]:
    where = {"DatabaseName": STACK.database, "TableName": FLATTENED_EVENTS.name}
    found: dict[str, Any] = client("glue").get_partition(**where, PartitionValues=values_of_key(HOUR))["Partition"]
    return found


def test_a_partition_is_described_as_its_table_is_and_points_to_its_folder(lake: S3Lake) -> None:
    publish(lake, b"rows")
    (key,) = keys()
    entry = partition()
    table = client("glue").get_table(DatabaseName=STACK.database, Name=FLATTENED_EVENTS.name)["Table"]

    assert key.startswith(f"{FOLDER}/")
    assert entry["Values"] == ["2026", "11", "20", "09"]
    described = entry["StorageDescriptor"]
    assert described.pop("Location") == f"s3://{BUCKET}/{key.rpartition('/')[0]}/"
    assert described.items() <= table["StorageDescriptor"].items()
    assert entry["Parameters"]["file"] == key.rpartition("/")[2]


def test_a_table_without_partitions_is_pointed_itself_and_keeps_all_else(lake: S3Lake) -> None:
    where = {"DatabaseName": STACK.database, "Name": LATEST_SEARCH_BY_USER.name}
    before = client("glue").get_table(**where)["Table"]
    publish(lake, b"report", LATEST_SEARCH_BY_USER, None)
    after = client("glue").get_table(**where)["Table"]

    (key,) = keys()
    assert after["StorageDescriptor"]["Location"] == f"s3://{BUCKET}/{key.rpartition('/')[0]}/"
    for kept in ("Description", "TableType", "PartitionKeys"):
        assert after[kept] == before[kept]
    assert before["Parameters"].items() <= after["Parameters"].items()
    assert after["StorageDescriptor"]["Columns"] == before["StorageDescriptor"]["Columns"]


def test_no_key_is_written_twice(lake: S3Lake) -> None:
    stored = []
    for text in (b"one", b"two", b"one", b"one"):
        publish(lake, text)
        stored.append({key: client("s3").head_object(Bucket=BUCKET, Key=key)["LastModified"] for key in keys()})
    assert [len(each) for each in stored] == [1, 2, 2, 2]
    assert stored[1] == stored[3]
    assert content(lake) == b"one"


def test_an_engine_may_write_to_the_lake_itself(lake: S3Lake) -> None:
    with lake.publishing(FLATTENED_EVENTS, HOUR, as_of=5) as staged:
        assert staged.prefix is not None
        attempt = staged.prefix.removeprefix(f"s3://{BUCKET}/")
        for name, data in (("000", b"rows of an engine"), ("_SUCCESS", b"1"), ("empty", b"")):
            client("s3").put_object(Bucket=BUCKET, Key=f"{attempt}{name}", Body=data)
        assert lake.partition(FLATTENED_EVENTS, HOUR) is None

    assert attempt.startswith(f"{FOLDER}/")
    assert content(lake) == b"rows of an engine"
    assert written_partition(lake, FLATTENED_EVENTS, HOUR).name == "flattened_events.parquet"
    assert (partition()["StorageDescriptor"]["Location"], lake.as_of(FLATTENED_EVENTS, HOUR)) == (staged.prefix, 5)


def test_an_engine_that_writes_parts_is_refused_and_the_old_partition_stays(lake: S3Lake) -> None:
    publish(lake, b"old")
    with pytest.raises(FileNotFoundError, match="has 2"), lake.publishing(FLATTENED_EVENTS, HOUR) as staged:
        _put_parts(staged.prefix or "")
    assert content(lake) == b"old"


def _put_parts(prefix: str) -> None:
    for name in ("000", "001"):
        client("s3").put_object(Bucket=BUCKET, Key=f"{prefix.removeprefix(f's3://{BUCKET}/')}{name}", Body=b"rows")


def test_a_table_that_glue_does_not_know_says_what_makes_it(lake: S3Lake) -> None:
    client("glue").delete_table(DatabaseName=STACK.database, Name=FLATTENED_EVENTS.name)
    assert lake.partition(FLATTENED_EVENTS, HOUR) is None
    assert lake.hours(FLATTENED_EVENTS) == []
    with pytest.raises(CatalogMissingError, match=r"no table clickstream\.flattened_events.*catalog"):
        publish(lake, b"rows")


def test_a_big_file_goes_in_parts_and_comes_back_whole(lake: S3Lake) -> None:
    data = os.urandom(1 << 20) * 70  # 70 MiB: three parts
    publish(lake, data)
    (key,) = keys()
    assert client("s3").head_object(Bucket=BUCKET, Key=key)["ETag"].strip('"').endswith("-3")
    file = written_partition(lake, FLATTENED_EVENTS, HOUR)
    with Path(file).open("rb") as copy:
        assert hashlib.file_digest(copy, "sha256").digest() == hashlib.sha256(data).digest()


def test_a_snapshot_stays_what_it_was(lake: S3Lake) -> None:
    publish(lake, b"old")
    snapshot = lake.snapshot()
    before = snapshot.written_at(FLATTENED_EVENTS, HOUR)
    publish(lake, b"new")
    publish(lake, b"more", key=HOUR + timedelta(hours=1))

    assert snapshot.written_at(FLATTENED_EVENTS, HOUR) == before
    assert (snapshot.hours(FLATTENED_EVENTS), content(snapshot)) == ([HOUR], b"old")
    assert (len(lake.hours(FLATTENED_EVENTS)), content(lake), content(lake.snapshot())) == (2, b"new", b"new")


def test_many_partitions_are_listed_in_few_requests(lake: S3Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(lake, b"rows")
    entry = {name: partition()[name] for name in ("StorageDescriptor", "Parameters")}
    hours = [HOUR + timedelta(hours=step) for step in range(500)]
    where = {"DatabaseName": STACK.database, "TableName": FLATTENED_EVENTS.name}
    for first in range(1, len(hours), 100):
        some = [{"Values": values_of_key(hour), **entry} for hour in hours[first : first + 100]]
        client("glue").batch_create_partition(**where, PartitionInputList=some)

    with requests_counted(monkeypatch) as asked:
        snapshot = open_like(lake).snapshot()
        assert snapshot.hours(FLATTENED_EVENTS) == hours
        assert all(snapshot.as_of(FLATTENED_EVENTS, hour) for hour in hours)
    assert len(asked) <= 5


def open_like(lake: S3Lake) -> S3Lake:
    """The lake by clients that are made now."""
    resource = S3LakeResource(bucket=BUCKET, database=STACK.database, folder=str(lake._folder), copies_bytes=1 << 30)
    opened: S3Lake = resource.create_resource(dg.build_init_resource_context())
    return opened


@contextmanager
def requests_counted(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    asked: list[str] = []
    make = boto3.client

    def counting(service: str, **options: Any) -> Any:
        made = make(service, **options)
        made.meta.events.register("before-send.*.*", lambda request, **_: asked.append(request.url))
        return made

    with monkeypatch.context() as patch:
        patch.setattr(boto3, "client", counting)
        yield asked


def test_the_day_that_a_warehouse_reads_from_a_path_is_there(lake: S3Lake, tmp_path: Path) -> None:
    prices, warehouse = CUSTOMER_PRICES, DuckDBWarehouse(200_000_000, tmp_path)
    statement = "SELECT 7::BIGINT AS customer_id, 0.25::DECIMAL(10,4) AS price_per_click"
    for day in (date(2026, 11, 20), date(2026, 11, 21)):
        with lake.publishing(prices, day) as staged:
            warehouse.save(statement, [], {}, staged, {})
    source = Source(prices, [written_partition(lake, prices, day) for day in lake.days(prices)])
    found = warehouse.select('SELECT "date", customer_id FROM prices ORDER BY 1', [], {"prices": source})
    assert found["date"].to_pylist() == lake.days(prices)


def age(key: str, by: timedelta) -> None:
    date_object(key, datetime.now(UTC) - by)


def rewrite(lake: S3Lake, **changes: str) -> None:
    """Have a partition's entry say other things of itself."""
    entry = partition()
    told = {name: entry[name] for name in ("Values", "StorageDescriptor")}
    client("glue").update_partition(
        DatabaseName=STACK.database, TableName=FLATTENED_EVENTS.name, PartitionValueList=entry["Values"],
        PartitionInput=told | {"Parameters": entry["Parameters"] | changes},
    )  # fmt: skip


def rewrite_table(**changes: str) -> None:
    """Have the entry of a table without partitions say other things of itself."""
    where = {"DatabaseName": STACK.database}
    entry = client("glue").get_table(**where, Name=LATEST_SEARCH_BY_USER.name)["Table"]
    told = {"StorageDescriptor": entry["StorageDescriptor"], "Parameters": entry["Parameters"] | changes}
    client("glue").update_table(**where, TableInput={"Name": LATEST_SEARCH_BY_USER.name, **told})


LONG_AGO = IN_USE + timedelta(hours=1)


def test_what_was_replaced_goes_a_day_later_and_what_is_in_place_stays(lake: S3Lake) -> None:
    publish(lake, b"old")
    (old,) = keys()
    publish(lake, b"new")
    for key in keys():
        age(key, LONG_AGO)

    assert lake.sweep(time.time()).paths == []  # replaced a moment ago: statements may still read it
    rewrite(lake, written_at=str(time.time_ns() - int(LONG_AGO.total_seconds()) * 1_000_000_000))
    assert lake.sweep(time.time() - LONG_AGO.total_seconds() - 3600).paths == []
    swept = lake.sweep(time.time())

    assert (swept.paths, swept.bytes) == ([f"s3://{BUCKET}/{old}"], 3)
    assert (len(keys()), content(lake)) == (1, b"new")


def test_what_was_never_pointed_to_goes_when_it_is_a_day_old(lake: S3Lake) -> None:
    publish(lake, b"rows")
    publish(lake, b"report", LATEST_SEARCH_BY_USER, None)
    rewrite(lake, written_at="0")
    rewrite_table(written_at="0")
    in_place = keys()
    left = [f"{FOLDER}/{'a' * 32}/000", f"reports/latest_search_by_user/{'b' * 32}/x.parquet"]
    young = f"{FOLDER}/{'c' * 32}/000"
    others = ["raw/year=2026/month=11/day=20/hour=09/of-delivery.gz", "flattened/by-hand.parquet", f"{'d' * 32}/x"]
    for key in (*left, young, *others):
        client("s3").put_object(Bucket=BUCKET, Key=key, Body=b"left")
    for key in (*in_place, *left, *others):
        age(key, LONG_AGO)

    assert lake.sweep(time.time()).paths == [f"s3://{BUCKET}/{key}" for key in left]
    assert keys() == sorted([*in_place, young, *others])


@pytest.mark.parametrize(("table", "key"), [(CUSTOMER_PRICES, HOUR.date()), (LATEST_SEARCH_BY_USER, None)])
def test_a_table_that_is_dropped_and_made_anew_takes_no_file_along(
    lake: S3Lake, table: Table, key: date | None
) -> None:
    publish(lake, b"prices of that day", table, key)
    (stored,) = keys()
    age(stored, LONG_AGO)
    client("glue").delete_table(DatabaseName=STACK.database, Name=table.name)
    GlueCatalog(STACK, BUCKET).refresh([table])

    assert lake.sweep(time.time()).paths == []
    assert (keys(), lake.partition(table, key)) == ([stored], None)


def test_what_crawlers_found_is_neither_looked_at_nor_in_the_way(lake: S3Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    """They make a table of each schema that they meet, with partitions by whatever columns are left."""
    found = {"Location": f"s3://{BUCKET}/raw/year=2026/", "Columns": [{"Name": "a", "Type": "int"}]}
    for name, values in {"crawled_raw": ["2026", "11", "20", "09"], "crawled_year_2026": ["11", "20", "09"]}.items():
        where = {"DatabaseName": STACK.database}
        partitioned = {"PartitionKeys": [{"Name": f"key_{number}", "Type": "string"} for number in range(len(values))]}
        client("glue").create_table(**where, TableInput={"Name": name, "StorageDescriptor": found, **partitioned})
        partition = {"Values": values, "StorageDescriptor": found}
        client("glue").create_partition(**where, TableName=name, PartitionInput=partition)
    publish(lake, b"old")
    (old,) = keys()
    publish(lake, b"new")
    rewrite(lake, written_at="0")
    age(old, LONG_AGO)

    with requests_counted(monkeypatch) as asked:
        assert open_like(lake).sweep(time.time()).paths == [f"s3://{BUCKET}/{old}"]
    assert [url for url in asked if "prefix=raw" in url] == []


def test_uploads_that_were_never_completed_are_ended(lake: S3Lake) -> None:
    s3 = client("s3")
    s3.create_multipart_upload(Bucket=BUCKET, Key=f"{FOLDER}/{'a' * 32}/x")
    began = datetime(2010, 11, 10, tzinfo=UTC)  # all uploads did, says the emulator
    assert lake.sweep(began.timestamp()).paths == []
    assert lake.sweep(time.time()).paths == [f"s3://{BUCKET}/{FOLDER}/{'a' * 32}/x"]
    assert s3.list_multipart_uploads(Bucket=BUCKET).get("Uploads", []) == []


def test_what_a_killed_run_left_on_this_machine_is_swept_too(lake: S3Lake, tmp_path: Path) -> None:
    left = tmp_path / "lake" / ".scratch-left"
    left.mkdir(parents=True)
    (left / "rows").write_bytes(b"rows")
    assert lake.sweep(time.time() + 1).paths == [str(left)]


def test_a_landed_file_that_was_replaced_is_had_as_it_is_now(lake: S3Lake) -> None:
    key = f"replays/year=2026/month=11/day=20/hour=09/replay-{1:032x}.json.gz"
    lake.publish(key, b"old")
    (file,) = lake.list_hour("replays", HOUR)
    lake.publish(key, b"new")
    assert Path(file).read_bytes() == b"new"
    (file,) = lake.list_hour("replays", HOUR)
    client("s3").delete_object(Bucket=BUCKET, Key=key)
    with pytest.raises(FileNotFoundError, match="replay"):
        os.fspath(file)


@pytest.mark.parametrize("key", [HOUR, date(2026, 11, 20)])
def test_values_of_partitions_are_read_back(key: date) -> None:
    assert key_of_values(values_of_key(key)) == key


NOWHERE = Published("s3://b/t/0/", "x", 1, 2)


def stubbed(*answers: tuple[str, Any]) -> tuple[GluePartitions, Stubber]:
    """Partitions by a client that answers so, in this order; a text is the code of an error."""
    glue = boto3.client("glue", region_name="us-east-1")
    stub = Stubber(glue)
    for operation, answer in answers:
        if isinstance(answer, str):
            stub.add_client_error(operation, answer)
        else:
            stub.add_response(operation, answer)
    stub.activate()
    return GluePartitions(Stack("s").database, glue), stub


TABLE = {"Table": {"Name": "t", "VersionId": "7", "StorageDescriptor": {"Location": "s3://b/t/"}}}


def test_a_partition_that_somebody_makes_meanwhile_is_updated() -> None:
    tables, stub = stubbed(
        ("get_table", TABLE),
        ("get_partition", "EntityNotFoundException"),
        ("create_partition", "AlreadyExistsException"),
        ("get_partition", {"Partition": {"Values": values_of_key(HOUR), "StorageDescriptor": {}}}),
        ("update_partition", {}),
    )
    tables.point(FLATTENED_EVENTS, HOUR, NOWHERE)
    stub.assert_no_pending_responses()


def test_a_table_that_is_brought_up_meanwhile_is_read_again() -> None:
    tables, stub = stubbed(
        ("get_table", TABLE),
        ("update_table", "ConcurrentModificationException"),
        ("get_table", TABLE),
        ("update_table", {}),
    )
    tables.point(LATEST_SEARCH_BY_USER, None, NOWHERE)
    stub.assert_no_pending_responses()


def test_partitions_that_others_made_are_none_of_the_platform_s(lake: S3Lake) -> None:
    client("glue").create_partition(
        DatabaseName=STACK.database, TableName=FLATTENED_EVENTS.name,
        PartitionInput={"Values": values_of_key(HOUR), "StorageDescriptor": {"Location": "s3://elsewhere/"}},
    )  # fmt: skip
    assert lake.partition(FLATTENED_EVENTS, HOUR) is None
    assert lake.hours(FLATTENED_EVENTS) == []
    publish(lake, b"rows")
    assert content(lake) == b"rows"
