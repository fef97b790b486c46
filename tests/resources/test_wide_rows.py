"""Rows of any width are saved within the memory limit, in order, as the same bytes every time."""

from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from resources.warehouse import DuckDBWarehouse, Source
from streaming.domain.tables import ENRICHED_EVENTS

ROWS = 100_000
ROW_BYTES = 2_048
LIMIT_BYTES = 150_000_000
ORDER = ("arrival_timestamp", "record_id")
# A thousand rows of every moment, in no order.
EVENTS = f"""
SELECT
  TIMESTAMP '2026-11-20 04:00:00' + to_seconds(i % ({ROWS} // 1000)) AS arrival_timestamp,
  md5(CAST(i AS VARCHAR)) AS record_id,
  repeat(md5(CAST(-i AS VARCHAR)), ?) AS extra
FROM range({ROWS}) r(i)
"""
STATEMENT = "SELECT e.arrival_timestamp, e.record_id, e.extra FROM events e WHERE e.record_id >= ?"


def save(folder: Path, row_bytes: int, limit_bytes: int = LIMIT_BYTES, threads: int | None = None) -> Path:
    """The events as the warehouse saves them."""
    events, file = folder / f"{row_bytes}.parquet", folder / "saved.parquet"
    if not events.exists():
        with duckdb.connect() as connection:
            pq.write_table(connection.execute(EVENTS, [row_bytes // 32]).to_arrow_table(), events, row_group_size=2_048)
    warehouse = DuckDBWarehouse(limit_bytes, folder / "spilled", threads)
    sources = {"events": Source(ENRICHED_EVENTS, [events])}
    assert warehouse.save(STATEMENT, ["0"], sources, file, {"says": "what it's of"}, ORDER) == ROWS
    return file


def keys(file: Path) -> list[tuple[object, str]]:
    rows = pq.read_table(file, columns=list(ORDER))
    return list(zip(*(column.to_pylist() for column in rows.columns), strict=True))


def test_more_text_than_memory_is_saved_in_order(tmp_path: Path) -> None:
    file = save(tmp_path, ROW_BYTES)
    saved = keys(file)
    assert saved == sorted(saved)
    assert len(set(saved)) == ROWS
    assert pq.read_metadata(file).metadata[b"says"] == b"what it's of"
    with duckdb.connect() as connection:
        differing = "SELECT COUNT(*) FROM read_parquet(?) s ANTI JOIN read_parquet(?) e USING (record_id, extra)"
        assert connection.execute(differing, [str(file), str(tmp_path / f"{ROW_BYTES}.parquet")]).fetchall() == [(0,)]


def test_what_is_wide_gives_the_same_bytes_within_any_limit_and_with_any_threads(tmp_path: Path) -> None:
    first = save(tmp_path, ROW_BYTES).read_bytes()
    assert save(tmp_path, ROW_BYTES, 4 * LIMIT_BYTES, threads=4).read_bytes() == first


@pytest.mark.parametrize(("row_bytes", "most_rows"), [(ROW_BYTES, 10_000), (64, 122_880)])
def test_a_row_group_is_of_so_many_bytes_where_rows_are_wide(tmp_path: Path, row_bytes: int, most_rows: int) -> None:
    found = pq.read_metadata(save(tmp_path, row_bytes))
    assert max(found.row_group(group).num_rows for group in range(found.num_row_groups)) <= most_rows
    assert (found.num_row_groups == 1) == (row_bytes == 64)


def test_both_ways_give_one_schema(tmp_path: Path) -> None:
    wide, narrow = (pq.read_schema(save(tmp_path, row_bytes)) for row_bytes in (ROW_BYTES, 64))
    assert wide.equals(narrow)
    assert wide.types == [pa.timestamp("us"), pa.string(), pa.string()]
