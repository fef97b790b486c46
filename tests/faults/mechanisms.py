"""What keeps each fault from costing anything: take one of these out, and its row's test must fail."""

from typing import NamedTuple


class Mechanism(NamedTuple):
    """`old` stands exactly once in the product's `file`; with `new` in its place `what` is gone, and `test` is red.

    `row` is the fault's number in the catalogue, `test` the test's node id below tests/faults.
    """

    row: int
    test: str
    file: str
    what: str
    old: str
    new: str


MECHANISMS: tuple[Mechanism, ...] = (
    Mechanism(
        2,
        "test_producers.py::test_02_an_acknowledgement_is_lost_and_the_producer_sends_again",
        "sql/flatten/flattened_events.sql",
        "one row per click_id",
        "WHERE r.copy_number = 1",
        "WHERE r.copy_number >= 1",
    ),
)
