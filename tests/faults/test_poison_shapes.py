"""Events whose values take another shape than yesterday's."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.faults.platform import Platform
from tests.landing import event_text

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

SHAPES: tuple[Any, ...] = (7, "7", {"amount": 7}, [7], True)
BROKEN = {  # key, and the shapes that break the contract
    "user_id": (7, {"id": 7}, [7], True),
    "additional_data": (7, "7", [7], True),
    "price": ("7", {"amount": 7}, [7], True),
}


def test_16_a_known_key_turns_from_number_to_string_to_object(platform: Platform) -> None:
    hours_ago = datetime.now(UTC) - timedelta(hours=3)
    good = [_shaped("campaign", shape) for shape in SHAPES]
    good += [_shaped("price", 7, detail=True), _shaped("voucher", {"code": [7]}, detail=True)]
    platform.put_at(hours_ago, good)
    platform.expect_invariant()
    before = _columns(platform)

    bad = [(key, _shaped(key, shape, detail=key == "price")) for key, shapes in BROKEN.items() for shape in shapes]
    platform.put_at(hours_ago + timedelta(minutes=1), [event for _, event in bad])
    platform.put(event for _, event in bad)
    summary = platform.expect_invariant()

    assert _columns(platform) == before
    assert (summary["enriched"], summary["failed"]) == (len(good), 2 * len(bad))
    for _, event in bad:
        refused = platform.post(event)
        assert (refused.status_code, refused.json()["errors"][0]["type"]) == (400, "schema_violation")
    counts = platform.query("SELECT field, count(*) AS n FROM failed_events WHERE type = 'schema_violation' GROUP BY 1")
    assert {row["field"]: row["n"] for row in counts} == {
        "/user_id": 8, "/additional_data": 8, "/additional_data/price": 8,
    }  # fmt: skip
    extras = platform.query("SELECT extra FROM flattened_events WHERE extra IS NOT NULL")
    kept = [json.loads(row["extra"]) for row in extras]
    assert sorted(map(json.dumps, kept)) == sorted(
        json.dumps(extra)
        for extra in [*({"campaign": shape} for shape in SHAPES), {"additional_data": {"voucher": {"code": [7]}}}]
    )


def _shaped(key: str, value: Any, *, detail: bool = False) -> bytes:
    now = datetime.now(UTC)
    click = f"{key}-{json.dumps(value)}"
    return event_text(now - timedelta(hours=4), click, **{"additional_data": {key: value}} if detail else {key: value})


def _columns(platform: Platform) -> list[dict[str, Any]]:
    """Names and types of every column, as a reader of the files finds them."""
    tables = ("raw_events", "enriched_landing", "enriched_events", "failed_events", "flattened_events")
    columns = "column_name AS name, column_type AS type"
    return platform.query(
        " UNION ALL ".join(f"SELECT '{table}' AS table_name, {columns} FROM (DESCRIBE {table})" for table in tables)
    )
