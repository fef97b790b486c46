"""Schemas compared: each column that differs is told once, with what it is and what it should be."""

import pytest

from streaming.domain.schema_drift import Difference, DriftKind, differences, is_lossless

DECLARED = {
    "user_id": "VARCHAR",
    "additional_data": "STRUCT",
    "additional_data.price": "DECIMAL(18,2)",
    "additional_data.product_id": "BIGINT",
}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, []),
        ({"color": "VARCHAR"}, [Difference(DriftKind.NEW_COLUMN, "color", "", "VARCHAR", is_error=False)]),
        (
            {"additional_data.coupon": "VARCHAR"},
            [Difference(DriftKind.NEW_COLUMN, "additional_data.coupon", "", "VARCHAR", is_error=False)],
        ),
        ({"user_id": None}, [Difference(DriftKind.MISSING_COLUMN, "user_id", "VARCHAR")]),
        ({"user_id": "BIGINT"}, [Difference(DriftKind.CHANGED_TYPE, "user_id", "VARCHAR", "BIGINT")]),
        (
            {"additional_data.product_id": "INT"},
            [Difference(DriftKind.CHANGED_TYPE, "additional_data.product_id", "BIGINT", "INT", is_error=False)],
        ),
        (
            {"additional_data": "VARCHAR", "additional_data.price": None, "additional_data.product_id": None},
            [Difference(DriftKind.CHANGED_TYPE, "additional_data", "STRUCT", "VARCHAR")],
        ),
        (
            {"user_id": "STRUCT", "user_id.number": "BIGINT"},
            [Difference(DriftKind.CHANGED_TYPE, "user_id", "VARCHAR", "STRUCT")],
        ),
        (
            {"cart": "STRUCT[]", "cart[].price": "DOUBLE"},
            [Difference(DriftKind.NEW_COLUMN, "cart", "", "STRUCT[]", is_error=False)],
        ),
    ],
)
def test_differences(changes: dict[str, str | None], expected: list[Difference]) -> None:
    found = {path: type_ for path, type_ in (DECLARED | changes).items() if type_ is not None}
    assert list(differences(DECLARED, found)) == expected


@pytest.mark.parametrize(
    ("found", "declared", "lossless"),
    [
        ("INT", "BIGINT", True),
        ("BIGINT", "INT", False),
        ("FLOAT", "DOUBLE", True),
        ("DOUBLE", "BIGINT", False),
        ("DECIMAL(10,2)", "DECIMAL(18,2)", True),
        ("DECIMAL(18,4)", "DECIMAL(18,2)", False),
        ("DECIMAL(18,0)", "DECIMAL(18,2)", False),
        ("TIMESTAMP_MS", "TIMESTAMP", True),
        ("TIMESTAMP WITH TIME ZONE", "TIMESTAMP", False),
        ("VARCHAR", "BIGINT", False),
    ],
)
def test_lossless(found: str, declared: str, lossless: bool) -> None:
    assert is_lossless(found, declared) is lossless
