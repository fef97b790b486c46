"""The catalogue of faults is whole: every row has its test, and what the test covers can still be taken out."""

import re
from pathlib import Path

import pytest

from streaming.settings import ROOT
from tests.faults.mechanisms import MECHANISMS, Mechanism

FAULTS = 30
DOORS = {
    "spoofed_client_ip", "ssrf_and_quota_through_user_ip", "sql_injection", "csv_formulas",
    "log_injection_and_payloads_in_logs", "oversized_deep_compressed", "public_endpoint_abuse",
    "dagster_ui_bound_to_loopback",
}  # fmt: skip
TESTS = {
    f"{file.name}::{name}"
    for file in Path(__file__).parent.glob("test_*.py")
    for name in re.findall(r"^def (test_\w+)", file.read_text(), re.MULTILINE)
}


def test_every_row_has_a_test_named_by_it_and_a_mechanism() -> None:
    rows = {*range(1, FAULTS + 1), *DOORS}
    named = {int(number) for test in TESTS for number in re.findall(r"::test_(\d\d)_", test)}
    named_doors = {door for door in DOORS for test in TESTS if test.endswith(f"::test_door_{door}")}
    assert rows - named - named_doors == set()
    assert rows - {mechanism.row for mechanism in MECHANISMS} == set()
    assert len(set(MECHANISMS)) == len(MECHANISMS)


@pytest.mark.parametrize("mechanism", MECHANISMS, ids=lambda each: f"{each.row}: {each.what}")
def test_a_mechanism_can_be_taken_out_and_has_its_rows_test(mechanism: Mechanism) -> None:
    assert (ROOT / mechanism.file).read_text().count(mechanism.old) == 1
    assert mechanism.old != mechanism.new
    assert mechanism.test in TESTS
    row = f"{mechanism.row:02}" if isinstance(mechanism.row, int) else f"door_{mechanism.row}"
    assert f"::test_{row}" in mechanism.test
