"""JSON lines to Parquet by the declared tables."""

import io
import json
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from streaming.domain.tables import ENRICHED_LANDING, TABLES
from streaming.edges.parquet import arrow_schema, arrow_type, convert, parquet_bytes

SCHEMA = arrow_schema(ENRICHED_LANDING)


def line(record_id: str = "0" * 32, **changes: object) -> bytes:
    row = {
        "record_id": record_id,
        "arrival_timestamp": "2026-11-23T04:05:06.789012Z",
        "timestamp": "2026-11-23T04:05:06.000001Z",
        "user_id": "20",
        "additional_data": {"time_on_data": 83, "percent_viewed": 87, "product_id": 361482, "price": 694.83},
        **changes,
    }
    return json.dumps(row, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n"


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_every_declared_table_has_a_schema(table):
    assert arrow_schema(table).names == list(table.column_names)


def test_nested_types():
    assert arrow_type("STRUCT(a TIMESTAMP, b STRUCT(c DECIMAL(5,2), d INT))[]") == pa.list_(
        pa.struct([("a", pa.timestamp("us")), ("b", pa.struct([("c", pa.decimal128(5, 2)), ("d", pa.int32())]))])
    )


def test_rows_read_back_as_declared():
    rows = pq.read_table(io.BytesIO(parquet_bytes(convert([line()], SCHEMA).rows)))

    assert rows.schema.names == SCHEMA.names
    [row] = rows.to_pylist()
    assert row["additional_data"]["price"] == Decimal("694.83")
    assert row["timestamp"].isoformat() == "2026-11-23T04:05:06.000001"
    assert row["name"] is None


def test_the_file_is_snappy_and_reproducible():
    lines = [line(f"{index:032x}") for index in range(1000)]
    data = parquet_bytes(convert(lines, SCHEMA).rows)

    assert data == parquet_bytes(convert(lines, SCHEMA).rows)
    assert pq.ParquetFile(io.BytesIO(data)).metadata.row_group(0).column(0).compression == "SNAPPY"


def test_a_key_that_is_not_declared_is_dropped():
    assert convert([line(colour="red")], SCHEMA).rejected == []


@pytest.mark.parametrize(
    "bad",
    [
        b"",
        b"null",
        b"null null",
        b"{}",
        b"[1]",
        b"7",
        b"{",
        b'{"record_id":"\xff","arrival_timestamp":"2026-11-23T04:05:06Z"}',
        b"[" * 100_000,
        b'{"a":' * 100_000,
        line() + line(),
        line(user_id=7),
        line(user_id={"a": 1}),
        line(user_id="\ud800"),
        line(timestamp="yesterday"),
        line(additional_data="none"),
        line(additional_data={"price": 1.999}),
        line(additional_data={"product_id": 2**70}),
        b'{"record_id":"1","record_id":"2","arrival_timestamp":"2026-11-23T04:05:06Z"}',
        line(record_id=None),
    ],
    ids=lambda bad: repr(bad[:30]),
)
def test_a_line_that_does_not_convert_costs_only_itself(bad):
    good = [line(f"{index:032x}") for index in range(9)]

    converted = convert([*good[:4], bad, *good[4:]], SCHEMA)

    assert converted.rows.column("record_id").to_pylist() == [f"{index:032x}" for index in range(9)]
    assert [rejected.position for rejected in converted.rejected] == [4]
    assert converted.rejected[0].reason
    parquet_bytes(converted.rows)


def test_no_lines_are_no_rows():
    assert convert([], SCHEMA).rows.num_rows == 0


def test_lines_that_all_fail_leave_no_rows():
    converted = convert([b"bad"] * 5, SCHEMA)

    assert converted.rows.num_rows == 0
    assert [rejected.position for rejected in converted.rejected] == [0, 1, 2, 3, 4]


def test_a_line_of_megabytes_converts():
    assert convert([line(extra="x" * 5_000_000)], SCHEMA).rejected == []
