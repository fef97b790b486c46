"""Files that differ from what is declared: what a crawl tells of them, and that views read on."""

import gzip
import json
import os
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clickstream_assets.enriched.seal import seal
from resources.catalog import DuckDBCatalog
from resources.crawler import Drift
from resources.file_schemas import SAMPLE_BYTES, SAMPLE_LINES
from resources.lake import DirectoryLake, partition_file
from resources.warehouse import DuckDBWarehouse
from streaming.domain.layout import day_prefix, hour_prefix
from streaming.domain.schema_drift import DriftKind
from streaming.domain.tables import (
    ENRICHED_EVENTS,
    ENRICHED_LANDING,
    HIGH_INTENT_VIEWS,
    RAW_EVENTS,
    REPLAYS,
    Column,
    Table,
)
from streaming.edges.parquet import arrow_schema
from tests.landing import delivery, land
from tests.resources.conftest import ask

HOUR = datetime(2026, 11, 20, 10, tzinfo=UTC)
DETAILS = "STRUCT(price DECIMAL(18,2), product_id BIGINT)"
EVENTS = Table(
    "events",
    "events",
    "parquet",
    "hour",
    "one row per event",
    (
        Column("user_id", "VARCHAR", "who"),
        Column("quantity", "BIGINT", "how many"),
        Column("details", DETAILS, "of what"),
    ),
)
SALES = Table(
    "sales",
    "aggregated/sales",
    "csv",
    "day",
    "one row per product",
    (Column("product", "VARCHAR", "what"), Column("sold", "BIGINT", "how many"), Column("price", "DECIMAL(18,2)", "")),
)
GOOD_DETAILS = {"price": 5, "product_id": 7}
GOOD_DETAILS_TYPE = pa.struct([("price", pa.decimal128(18, 2)), ("product_id", pa.int64())])


def look(catalog: DuckDBCatalog, *tables: Table) -> list[Drift]:
    catalog.crawl(tables)
    return catalog.refresh(tables).drifts


def told(drifts: Sequence[Drift]) -> list[tuple[str, DriftKind, str, str]]:
    return sorted((drift.column_name, drift.kind, drift.declared, drift.found) for drift in drifts)


def parquet(lake: DirectoryLake, number: int, columns: dict[str, tuple[Any, pa.DataType]]) -> Path:
    """A file of one row in an hour of its own."""
    file = lake.path(f"{hour_prefix(EVENTS.prefix, HOUR + timedelta(hours=number))}/events.parquet")
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({name: pa.array([value], type_) for name, (value, type_) in columns.items()}), file)
    return file


def good(**changes: Any) -> dict[str, tuple[Any, pa.DataType]]:
    columns = {
        "user_id": ("20", pa.string()),
        "quantity": (3, pa.int64()),
        "details": (GOOD_DETAILS, GOOD_DETAILS_TYPE),
    }
    return {name: value for name, value in (columns | changes).items() if value is not None}


def unloaded(lake: DirectoryLake, day: int, text: str) -> Path:
    file = lake.path(f"{day_prefix(SALES.prefix, f'2026-11-{day:02}')}/sales.csv")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


def raw(lake: DirectoryLake, name: str, lines: Sequence[Any], hour: datetime = HOUR) -> Path:
    """A raw file of these lines; bytes stand as they are."""
    text = b"".join((line if isinstance(line, bytes) else json.dumps(line).encode()) + b"\n" for line in lines)
    lake.publish(f"{hour_prefix(RAW_EVENTS.prefix, hour)}/{name}.json.gz", gzip.compress(text))
    return lake.path(f"{hour_prefix(RAW_EVENTS.prefix, hour)}/{name}.json.gz")


def envelope(record_id: str, **event: Any) -> dict[str, Any]:
    stamp = {"record_id": record_id * 32, "arrival_timestamp": "2026-11-20T10:05:00.000000Z", "client_ip": None}
    return stamp | {"event": {"user_id": "20", "click_id": record_id, "event_name": "Search"} | event}


# (how one file differs, what is told of it, its row as the view reads it)
PARQUET_DRIFTS = {
    "a new column": (
        good(color=("red", pa.string())),
        [("color", DriftKind.NEW_COLUMN, "", "VARCHAR")],
        ("20", 3, 5, 7),
    ),
    "a new leaf": (
        good(details=(GOOD_DETAILS | {"coupon": "x"}, pa.struct([*GOOD_DETAILS_TYPE, ("coupon", pa.string())]))),
        [("details.coupon", DriftKind.NEW_COLUMN, "", "VARCHAR")],
        ("20", 3, 5, 7),
    ),
    "a missing column": (
        good(quantity=None),
        [("quantity", DriftKind.MISSING_COLUMN, "BIGINT", "")],
        ("20", None, 5, 7),
    ),
    "a missing leaf": (
        good(details=({"price": 5}, pa.struct([GOOD_DETAILS_TYPE.field("price")]))),
        [("details.product_id", DriftKind.MISSING_COLUMN, "BIGINT", "")],
        ("20", 3, 5, None),
    ),
    "a narrower type": (
        good(quantity=(3, pa.int32())),
        [("quantity", DriftKind.CHANGED_TYPE, "BIGINT", "INT")],
        ("20", 3, 5, 7),
    ),
    "a type that casts": (
        good(quantity=("3", pa.string())),
        [("quantity", DriftKind.CHANGED_TYPE, "BIGINT", "VARCHAR")],
        ("20", 3, 5, 7),
    ),
    "a type that does not cast": (
        good(quantity=("three", pa.string())),
        [("quantity", DriftKind.CHANGED_TYPE, "BIGINT", "VARCHAR")],
        ("20", None, 5, 7),
    ),
    "a leaf that does not cast": (
        good(
            details=(
                {"price": "free", "product_id": 7},
                pa.struct([("price", pa.string()), ("product_id", pa.int64())]),
            )
        ),
        [("details.price", DriftKind.CHANGED_TYPE, "DECIMAL(18,2)", "VARCHAR")],
        ("20", 3, None, 7),
    ),
    "no struct any more": (
        good(details=("none", pa.string())),
        [("details", DriftKind.CHANGED_TYPE, "STRUCT", "VARCHAR")],
        ("20", 3, None, None),
    ),
    "a list": (
        good(quantity=([3], pa.list_(pa.int64()))),
        [("quantity", DriftKind.CHANGED_TYPE, "BIGINT", "BIGINT[]")],
        ("20", None, 5, 7),
    ),
}


@pytest.mark.parametrize("is_first", [True, False], ids=["the first file", "a later file"])
@pytest.mark.parametrize(("columns", "expected", "row"), PARQUET_DRIFTS.values(), ids=PARQUET_DRIFTS)
def test_a_parquet_file_that_differs(
    catalog: DuckDBCatalog, lake: DirectoryLake, columns: Any, expected: Any, row: Any, is_first: bool
) -> None:
    parquet(lake, 0 if is_first else 3, columns)
    for number in (1, 2):
        parquet(lake, number, good())
    drifts = look(catalog, EVENTS)
    assert told(drifts) == expected
    assert [(drift.table_name, drift.files) for drift in drifts] == [("events", 1)]
    rows = ask(catalog, "SELECT user_id, quantity, details.price, details.product_id FROM events ORDER BY hour")
    assert rows.pop(0 if is_first else 2) == row
    assert rows == [("20", 3, 5, 7)] * 2
    assert ask(catalog, "SELECT typeof(quantity), typeof(details) FROM events LIMIT 1") == [("BIGINT", DETAILS)]


def test_columns_that_a_file_lacks_are_null_before_any_crawl(catalog: DuckDBCatalog, lake: DirectoryLake) -> None:
    parquet(lake, 0, good(quantity=None))
    parquet(lake, 1, good(details=None))
    catalog.refresh([EVENTS])
    assert ask(catalog, "SELECT quantity, details.product_id FROM events ORDER BY hour") == [(None, 7), (3, None)]


def test_what_is_told_can_be_acted_on(catalog: DuckDBCatalog, lake: DirectoryLake) -> None:
    files = [parquet(lake, number, good(color=("red", pa.string()))) for number in range(3)]
    before = datetime.fromtimestamp(files[0].stat().st_ctime, UTC)
    look(catalog, EVENTS)
    ((table, column, kind, is_error, found, count, example, since),) = ask(
        catalog, "SELECT * EXCLUDE (declared) FROM schema_drift"
    )
    assert (table, column, kind, is_error, found, count) == ("events", "color", "new_column", False, "VARCHAR", 3)
    assert lake.path(example) in files
    assert abs(since.replace(tzinfo=UTC) - before) < timedelta(seconds=1)


def test_what_is_mended_or_gone_is_told_no_more(catalog: DuckDBCatalog, lake: DirectoryLake) -> None:
    odd = parquet(lake, 0, good(quantity=("three", pa.string())))
    gone = parquet(lake, 1, good(color=("red", pa.string())))
    parquet(lake, 2, good())
    assert {drift.kind for drift in look(catalog, EVENTS)} == {DriftKind.CHANGED_TYPE, DriftKind.NEW_COLUMN}
    gone.unlink()
    pq.write_table(pq.ParquetFile(parquet(lake, 2, good())).read(), odd)  # in place
    assert ask(catalog, "SELECT quantity FROM events") == [(3,), (3,)]  # before it is known
    assert look(catalog, EVENTS) == []
    assert ask(catalog, "SELECT COUNT(*) FROM schema_drift") == [(0,)]


def test_a_file_that_is_none_costs_itself_alone(catalog: DuckDBCatalog, lake: DirectoryLake) -> None:
    parquet(lake, 0, good())
    for number, content in enumerate((b"", b"PAR1 and then nothing"), start=1):
        parquet(lake, number, good()).write_bytes(content)
    (drift,) = look(catalog, EVENTS)
    assert (drift.kind, drift.files, drift.is_error) == (DriftKind.UNREADABLE, 2, True)
    assert ask(catalog, "SELECT quantity, hour FROM events") == [(3, 10)]


def test_a_condition_on_the_partition_keeps_other_files_closed(catalog: DuckDBCatalog, lake: DirectoryLake) -> None:
    """What cannot be read, and was not crawled, would fail the query that opens it; with files apart as without."""
    parquet(lake, 0, good())
    parquet(lake, 1, good(quantity=("4", pa.string())))
    catalog.crawl([EVENTS])
    parquet(lake, 2, good()).write_bytes(b"no Parquet")
    catalog.refresh([EVENTS])
    before = "(year, month, day, hour) < (2026, 11, 20, 12)"
    assert ask(catalog, f"SELECT quantity FROM events WHERE {before} ORDER BY 1") == [(3,), (4,)]
    with pytest.raises(duckdb.Error, match="Parquet"):
        ask(catalog, "SELECT quantity FROM events")


def test_sealed_and_landed_files_that_differ(catalog: DuckDBCatalog, lake: DirectoryLake, tmp_path: Path) -> None:
    tables = (ENRICHED_EVENTS, ENRICHED_LANDING)
    hours = [HOUR, HOUR + timedelta(hours=1)]
    for hour in hours:
        land(lake, [delivery(hour, "a", hour)], "one")
    seal(HOUR, lake, DuckDBWarehouse(100_000_000, tmp_path))
    for file in (lake.path(partition_file(ENRICHED_EVENTS, HOUR)), *lake.list_hour(ENRICHED_LANDING.prefix, hours[1])):
        rows = pq.ParquetFile(file).read()
        number = rows.schema.get_field_index("latitude")
        pq.write_table(rows.set_column(number, "latitude", pa.array(["north"])).drop_columns("city"), file)
    assert sorted({drift.table_name for drift in look(catalog, *tables)}) == ["enriched_events", "enriched_landing"]
    there = "SELECT hour, country, city, latitude, longitude FROM enriched_events ORDER BY hour"
    assert ask(catalog, there) == [(hour, "US", None, None, -117.4) for hour in (10, 11)]


CSV_DRIFTS = {
    "a new column": (
        "product|sold|price|color\napple|1|2.50|red\n",
        [("color", DriftKind.NEW_COLUMN, "", "VARCHAR")],
        ("apple", 1, 2.5),
    ),
    "a missing column": (
        "product|price\napple|2.50\n",
        [("sold", DriftKind.MISSING_COLUMN, "BIGINT", "")],
        ("apple", None, 2.5),
    ),
    "another order": ("price|sold|product\n2.50|1|apple\n", [], ("apple", 1, 2.5)),
    "a value that does not parse": (
        "product|sold|price\napple|one|2.50\n",
        [("sold", DriftKind.CHANGED_TYPE, "BIGINT", "text such as 'one'")],
        ("apple", None, 2.5),
    ),
    "a formula, and nothing": ('product|sold|price\n"\'=1|2"||\n', [], ("=1|2", None, None)),
}


@pytest.mark.parametrize(("text", "expected", "row"), CSV_DRIFTS.values(), ids=CSV_DRIFTS)
def test_an_unloaded_file_that_differs(
    catalog: DuckDBCatalog, lake: DirectoryLake, text: str, expected: Any, row: Any
) -> None:
    unloaded(lake, 1, "product|sold|price\npear|4|1.00\n")
    unloaded(lake, 2, text)
    unloaded(lake, 3, "product|sold|price\n")
    assert told(look(catalog, SALES)) == expected
    assert ask(catalog, "SELECT product, sold, price::DOUBLE FROM sales ORDER BY date") == [("pear", 4, 1.0), row]


@pytest.mark.parametrize(
    "content", [b"", b"product|product|sold\nx|y|1\n", b"product|sold|price\nx|1\n", b"product|sold|price\n\xff|1|2\n"]
)
def test_an_unloaded_file_that_is_broken_costs_itself_alone(
    catalog: DuckDBCatalog, lake: DirectoryLake, content: bytes
) -> None:
    for day in range(1, 9):
        unloaded(lake, day, "product|sold|price\npear|4|1.00\n")
    file = unloaded(lake, 9, "")
    file.write_bytes(content)
    (drift,) = look(catalog, SALES)
    assert (drift.kind, lake.path(drift.example_file), drift.is_error) == (DriftKind.UNREADABLE, file, True)
    assert ask(catalog, "SELECT SUM(sold) FROM sales") == [(32,)]


def test_keys_and_types_that_clients_send(catalog: DuckDBCatalog, lake: DirectoryLake) -> None:
    """New keys by their path, whatever lies below them; types that the contract does not have. Null is no type."""
    details = {"coupon": "X", "price": "5", "time_on_data": 3.0, "percent_viewed": 7}
    raw(lake, "one", [envelope("a", additional_data=details, cart={"items": [1]}, user_ip=None), envelope("b")])
    raw(lake, "two", [envelope("c", user_id=20)])
    drifts = look(catalog, RAW_EVENTS)
    assert told(drifts) == [
        ("event.additional_data.coupon", DriftKind.NEW_COLUMN, "", "string"),
        ("event.additional_data.price", DriftKind.CHANGED_TYPE, "number", "string"),
        ("event.cart", DriftKind.NEW_COLUMN, "", "object"),
        ("event.user_id", DriftKind.CHANGED_TYPE, "string", "integer"),
    ]
    assert not any(drift.is_error for drift in drifts)
    assert ask(catalog, "SELECT COUNT(*) FROM raw_events") == [(3,)]


def test_what_delivery_writes_of_good_and_bad_events_is_no_drift(catalog: DuckDBCatalog, lake: DirectoryLake) -> None:
    good_events = [delivery(HOUR, f"click-{number}", HOUR) for number in range(200)]
    spoiled = [
        delivery(HOUR, "bad", HOUR, additional_data={"price": "free"}),
        delivery(HOUR, "odd", HOUR, note="x"),
    ]
    land(lake, [*good_events, *spoiled], "one")
    raw(lake, "undecodable", [{**envelope("e"), "event": None, "event_base64": "PGh0bWw+"}])
    assert look(catalog, RAW_EVENTS) == []  # of a file, what one event in a hundred does not have is that event's


@pytest.mark.parametrize(
    ("line", "kind", "found"),
    [
        (b"{broken", DriftKind.UNREADABLE, "line 2 is no JSON"),
        (b"\xff\xfe", DriftKind.UNREADABLE, "line 2 is no JSON"),
        ({"click_id": "a", "event_name": "Search"}, DriftKind.UNRECOGNISED, "line 2 is known to no classifier"),
        (["a", "list"], DriftKind.UNRECOGNISED, "line 2 is known to no classifier"),
        (envelope("c") | {"arrival_timestamp": "soon"}, DriftKind.CHANGED_TYPE, "string"),
    ],
)
def test_odd_lines_of_raw_cost_themselves_alone(
    catalog: DuckDBCatalog, lake: DirectoryLake, line: Any, kind: DriftKind, found: str
) -> None:
    raw(lake, "one", [envelope("a"), line, envelope("b")])
    raw(lake, "two", [envelope("d")])
    (drift,) = look(catalog, RAW_EVENTS)
    assert (drift.kind, drift.found, drift.is_error) == (kind, found, True)
    there = ask(catalog, "SELECT record_id[1] FROM raw_events WHERE arrival_timestamp IS NOT NULL ORDER BY 1")
    assert there == [("a",), ("b",), ("d",)]


def test_of_a_raw_file_only_its_head_is_read(catalog: DuckDBCatalog, lake: DirectoryLake) -> None:
    lines = [envelope("a") for _ in range(SAMPLE_LINES)]
    raw(lake, "many", [*lines, *(envelope("b", many=1) for _ in range(50))])
    long = {"text": "x" * (SAMPLE_BYTES // 2)}
    raw(lake, "long", [envelope("c", **long), envelope("d", **long), *(envelope("e", late=1) for _ in range(50))])
    assert told(look(catalog, RAW_EVENTS)) == [("event.text", DriftKind.NEW_COLUMN, "", "string")]


def test_a_raw_file_that_was_cut_is_left_out(catalog: DuckDBCatalog, lake: DirectoryLake) -> None:
    file = raw(lake, "one", [envelope(f"{number % 10}", note=os.urandom(50).hex()) for number in range(100)])
    file.write_bytes(file.read_bytes()[:500])
    raw(lake, "two", [envelope("d")])
    assert [drift.kind for drift in look(catalog, RAW_EVENTS) if drift.is_error] == [DriftKind.UNREADABLE]
    assert ask(catalog, "SELECT COUNT(*) FROM raw_events") == [(1,)]


def test_clients_cannot_fill_the_catalog_with_keys(catalog: DuckDBCatalog, lake: DirectoryLake) -> None:
    for hour in range(3):
        raw(
            lake, "one", [envelope("a", **{os.urandom(500).hex(): 1 for _ in range(200)})], HOUR + timedelta(hours=hour)
        )
    drifts = look(catalog, RAW_EVENTS)
    assert len(drifts) == 100
    assert max(len(drift.column_name) for drift in drifts) < 100
    assert (catalog.file.parent / "catalog.crawl.json").stat().st_size < 200_000


def test_keys_of_clients_hide_no_error(catalog: DuckDBCatalog, lake: DirectoryLake) -> None:
    keys = envelope("a", **{f"key{number}": 1 for number in range(150)})
    for hour in range(3):
        raw(lake, "one", [keys], HOUR + timedelta(hours=hour))
    raw(lake, "two", [keys, b"{broken", keys | {"client_ip": 7}])
    drifts = look(catalog, RAW_EVENTS)
    assert {drift.kind for drift in drifts if drift.is_error} == {DriftKind.UNREADABLE, DriftKind.CHANGED_TYPE}
    assert len(drifts) == 100


def test_one_line_in_many_that_cannot_be_read_costs_itself_alone(catalog: DuckDBCatalog, lake: DirectoryLake) -> None:
    lines = [envelope("a") for _ in range(SAMPLE_LINES)]
    raw(lake, "one", [*lines[2:], envelope("b") | {"arrival_timestamp": "soon"}])
    (drift,) = look(catalog, RAW_EVENTS)
    assert (drift.column_name, drift.kind, drift.is_error) == ("arrival_timestamp", DriftKind.CHANGED_TYPE, True)
    assert ask(catalog, "SELECT COUNT(arrival_timestamp) FROM raw_events") == [(SAMPLE_LINES - 2,)]


def test_plain_json_has_no_classifier_of_its_own(catalog: DuckDBCatalog, lake: DirectoryLake) -> None:
    line = {"record_id": "a", "stage": "enrichment", "arrival_timestamp": "2026-11-20T10:05:00Z", "outcome": 5}
    lake.publish(f"{hour_prefix(REPLAYS.prefix, HOUR)}/r.json", json.dumps(line).encode() + b"\n")
    assert told(look(catalog, REPLAYS)) == [("outcome", DriftKind.CHANGED_TYPE, "string", "integer")]
    assert ask(catalog, "SELECT record_id, outcome FROM replays") == [("a", "5")]


def test_a_crawl_reads_only_what_is_new_or_changed(catalog: DuckDBCatalog, lake: DirectoryLake) -> None:
    tables = (EVENTS, SALES, RAW_EVENTS)
    files = [parquet(lake, number, good()) for number in range(5)]
    unloaded(lake, 1, "product|sold|price\npear|4|1.00\n")
    raw(lake, "one", [envelope("a")])
    assert catalog.crawl(tables) == (7, 7, 0)
    assert catalog.crawl(tables) == (7, 0, 0)
    raw(lake, "two", [envelope("b")])
    assert catalog.crawl(tables) == (8, 1, 0)  # and not what was in the folder before
    pq.write_table(pa.table({"user_id": ["x"]}), files[0])
    assert catalog.crawl(tables) == (8, 1, 0)
    shutil.rmtree(files[1].parent)
    assert catalog.crawl(tables) == (7, 0, 0)
    raw(lake, "two", [envelope("c", color="red")])
    assert catalog.crawl(tables) == (7, 2, 0)  # of a folder where a file was replaced, all are
    assert catalog.crawl(tables) == (7, 0, 0)


def test_a_crawl_is_bounded_and_the_next_goes_on_from_the_newest_to_the_oldest(
    catalog: DuckDBCatalog, lake: DirectoryLake
) -> None:
    for number in range(7):
        parquet(lake, number, good(**{f"new_{number}": (1, pa.int64())}))
    assert catalog.crawl([EVENTS], most_files=3) == (7, 3, 4)
    assert sorted(drift.column_name for drift in catalog.refresh([EVENTS]).drifts) == ["new_4", "new_5", "new_6"]
    assert catalog.crawl([EVENTS], most_files=3) == (7, 3, 1)
    assert catalog.crawl([EVENTS], most_files=3) == (7, 1, 0)
    assert len(catalog.refresh([EVENTS]).drifts) == 7
    for day in (1, 2, 3):
        unloaded(lake, day, "product|sold|price\n" + "pear|4|1.00\n" * 100)
    assert catalog.crawl([SALES], most_bytes=1_500) == (3, 2, 1)


@pytest.mark.parametrize("lost", [None, b"", b"[1", b'[0, {"events": ["", {}]}]'])
def test_what_is_remembered_can_be_lost(catalog: DuckDBCatalog, lake: DirectoryLake, lost: bytes | None) -> None:
    parquet(lake, 0, good(color=("red", pa.string())))
    drifts = look(catalog, EVENTS)
    memory = catalog.file.parent / "catalog.crawl.json"
    if lost is None:
        memory.unlink()
    else:
        memory.write_bytes(lost)
    assert catalog.refresh([EVENTS]).drifts == []
    assert catalog.crawl([EVENTS]) == (1, 1, 0)
    assert catalog.refresh([EVENTS]).drifts == drifts


def test_another_declaration_is_compared_anew(catalog: DuckDBCatalog, lake: DirectoryLake) -> None:
    parquet(lake, 0, good(color=("red", pa.string())))
    unloaded(lake, 1, "product|sold|price\npear|4|1.00\n")
    assert len(look(catalog, EVENTS, SALES)) == 1
    columns = (*EVENTS.columns, Column("color", "VARCHAR", "its color"))
    declared = Table("events", "events", "parquet", "hour", "one row per event", columns)
    assert catalog.refresh([declared, SALES]).drifts == []  # what was found of the other one is not told of this
    assert catalog.crawl([declared, SALES]) == (2, 1, 0)
    assert catalog.refresh([declared, SALES]).drifts == []
    assert ask(catalog, "SELECT color FROM events") == [("red",)]


def test_two_crawls_at_once(catalog: DuckDBCatalog, lake: DirectoryLake) -> None:
    for number in range(40):
        parquet(lake, number, good(color=("red", pa.string())))
    others = [DuckDBCatalog(catalog.file, lake) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda each: look(each, EVENTS), others))
    assert [[drift.files for drift in drifts] for drifts in found] == [[40]] * 4
    assert catalog.crawl([EVENTS]) == (40, 0, 0)
    assert sorted(file.name for file in catalog.file.parent.iterdir()) == [
        "catalog.crawl.json",
        "catalog.duckdb",
        "lake",
    ]


def test_folders_that_are_no_partitions_are_nobodys(catalog: DuckDBCatalog, lake: DirectoryLake) -> None:
    parquet(lake, 0, good())
    for folder in ("events/year=2026/month=11/day=20/hour=x", "events/old/11/20/10"):
        shutil.copytree(lake.path(hour_prefix("events", HOUR)), lake.path(folder))
    assert catalog.crawl([EVENTS]) == (1, 1, 0)
    catalog.refresh([EVENTS])
    assert ask(catalog, "SELECT COUNT(*) FROM events") == [(1,)]


def test_every_type_that_is_declared_is_found_as_declared(catalog: DuckDBCatalog, lake: DirectoryLake) -> None:
    file = lake.path(f"{hour_prefix(HIGH_INTENT_VIEWS.prefix, HOUR)}/h.parquet")
    file.parent.mkdir(parents=True)
    pq.write_table(arrow_schema(HIGH_INTENT_VIEWS).empty_table(), file, store_schema=False)
    assert look(catalog, HIGH_INTENT_VIEWS) == []
