"""A lake that an earlier release wrote keeps working: tables whose files lack columns that were added since."""

import os
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from clickstream_assets.catch_up import CatchUp, accounted, row_counts
from clickstream_assets.ledger.balance import read_balances
from resources.lake import DirectoryLake, partition_file
from streaming.domain.layout import hour_of
from streaming.domain.tables import EVENT_LEDGER, FAILED_EVENTS
from streaming.settings import Settings
from tests.clickstream_assets.conftest import NOW, DeliveryTo, caught_up
from tests.landing import Delivery, delivery, land

HOUR = hour_of(NOW)
LONG_AFTER = NOW + timedelta(hours=5)
BAD = Delivery(b'{"bad": 1}', NOW, "f" * 32)


def rewrite(file: Path, rows: pa.Table) -> None:
    """Replace a file's rows; its date stays, so nothing is rebuilt for that."""
    dated = file.stat()
    pq.write_table(rows, file)
    os.utime(file, ns=(dated.st_atime_ns, dated.st_mtime_ns))


def as_first_written(ledger: pa.Table) -> pa.Table:
    """A ledger without the counts, the examples and the versions that later releases added."""
    hours = [
        [{key: hour[key] for key in ("event_hour", "events")} for hour in row]
        for row in ledger["touched_event_hours"].to_pylist()
    ]
    older = ledger.drop_columns(["conflicting_clicks", "conflict_examples", "degraded_records", "touched_event_hours"])
    type_ = pa.list_(pa.struct([("event_hour", pa.timestamp("us")), ("events", pa.int64())]))
    return older.append_column("touched_event_hours", pa.array(hours, type_))


def test_a_ledger_of_an_earlier_release_is_read_and_written_anew(
    catch_up: CatchUp, lake: DirectoryLake, platform: Settings, delivered: DeliveryTo
) -> None:
    land(lake, [*(delivery(NOW, f"click-{i}", NOW) for i in range(5)), BAD], "one")
    catch_up.run(lake, caught_up(LONG_AFTER))
    ledger = lake.path(partition_file(EVENT_LEDGER, HOUR))
    rewrite(ledger, as_first_written(pq.ParquetFile(ledger).read()))
    failed = lake.path(partition_file(FAILED_EVENTS, HOUR))
    rewrite(failed, pq.ParquetFile(failed).read().drop_columns(["state", "replayed_at"]))

    (balance,) = read_balances([ledger])
    assert (balance.state, balance.raw_records, balance.conflicting_clicks, balance.conflict_examples) == (
        "balanced", 6, 0, [],
    )  # fmt: skip
    assert [hour.version for hour in balance.touched_event_hours] == [""]

    land(lake, [delivery(NOW, "late", NOW), delivery(NOW, "next", NOW + timedelta(hours=1))], "two")
    catch_up.run(lake, caught_up(LONG_AFTER))

    assert not catch_up.failed_runs
    assert accounted(lake) | row_counts(platform.home / "catalog.duckdb") | {"aggregates": {}} == {
        "raw": 8, "enriched": 7, "failed": 1, "flattened": 7, "aggregates": {}, "balanced": True,
    }  # fmt: skip
    (balance,) = read_balances([ledger])
    assert all(hour.version for hour in balance.touched_event_hours)
