"""A lake with a ledger, and the health of a platform on which nothing is wrong."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from streaming.domain.layout import hour_prefix
from streaming.domain.tables import EVENT_LEDGER
from streaming.edges.lake import LocalLake
from streaming.edges.parquet import arrow_schema, parquet_bytes
from streaming.runtime.health.ledger import LedgerHealth, Recent
from streaming.runtime.health.report import Health, Process, StreamHealth

NOW = datetime(2026, 11, 23, 10, 5, tzinfo=UTC)
HOUR = datetime(2026, 11, 23, 5, tzinfo=UTC)

WriteLedger = Callable[..., None]


@pytest.fixture
def lake(tmp_path: Path) -> LocalLake:
    return LocalLake(tmp_path / "lake")


@pytest.fixture
def write_ledger(lake: LocalLake) -> WriteLedger:
    """Publish the ledger of an hour; columns that are not given are 0, or nothing."""

    def write(hour: datetime, state: str = "balanced", without: tuple[str, ...] = (), **columns: Any) -> None:
        schema = pa.schema([field for field in arrow_schema(EVENT_LEDGER) if field.name not in without])
        row = {field.name: 0 if field.type == pa.int64() else None for field in schema}
        row |= {"arrival_hour": hour.replace(tzinfo=None), "state": state, "failures_by_type": "{}", **columns}
        rows = pa.Table.from_pylist([row], schema=schema)
        lake.publish(f"{hour_prefix(EVENT_LEDGER.prefix, hour)}/event_ledger.parquet", parquet_bytes(rows))

    return write


@pytest.fixture
def well() -> Health:
    recent = Recent(1000, 990, 10, {"schema_violation": 10}, 0, 0)
    ledger = LedgerHealth({"balanced": 5}, HOUR, [], 0, [], [], recent)
    stream = StreamHealth({"events": {}}, 10.0, NOW - timedelta(seconds=1), 1.0, [])
    up_since = NOW - timedelta(days=1)
    return Health(NOW, Path("/home"), up_since, {"collector": Process(1, "ready")}, stream, {}, ledger, 10, 90)
