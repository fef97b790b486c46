"""Aggregates as a producer library packs them, made by protobuf's own library."""

from collections.abc import Sequence

from hypothesis import example, given
from hypothesis import strategies as st

from streaming.domain.aggregated_records import deaggregate
from tests.aggregates_of_records import MAGIC, aggregate, digested

RECORDS = st.lists(st.tuples(st.text(), st.binary()), max_size=5)


@given(RECORDS)
@example([("user", b"x" * 100_000)])
def test_user_records_come_back_in_order(records: Sequence[tuple[str, bytes]]) -> None:
    assert deaggregate(aggregate(records)) == records


def test_hash_keys_tags_and_keys_of_several_records_are_understood() -> None:
    records = [("a", b"1"), ("b", b"2"), ("a", b"3")]

    assert deaggregate(aggregate(records, hash_key="5", tag="t")) == records


def test_every_user_record_is_kept_whatever_shard_its_hash_key_is_of() -> None:
    [record] = deaggregate(aggregate([("a", b"1")], hash_key=str(2**128 - 1))) or []

    assert record.data == b"1"


@given(st.binary())
def test_other_bytes_are_no_aggregate(data: bytes) -> None:
    assert deaggregate(data) is None
    assert deaggregate(MAGIC + data) is None


@given(RECORDS.filter(bool), st.data())
def test_a_damaged_aggregate_is_none(records: Sequence[tuple[str, bytes]], data: st.DataObject) -> None:
    whole = aggregate(records)
    position = data.draw(st.integers(0, len(whole) - 1))

    assert deaggregate(whole[:position] + bytes([whole[position] ^ 0xFF]) + whole[position + 1 :]) is None
    assert deaggregate(whole[:position]) is None


@given(st.binary())
@example(b"\x1a\x02\x08\x00")  # a record without data
@example(b"\x1a\x04\x08\x07\x1a\x00")  # a key that the table does not have
@example(b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f")
@example(b"\x18\x01")
def test_a_message_that_is_none_of_ours_never_raises(message: bytes) -> None:
    found = deaggregate(digested(message))

    assert found is None or all(isinstance(record.data, bytes) for record in found)
