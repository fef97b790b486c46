"""Batches: all items in order, none of them too large, and each as full as it may be."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from streaming.domain.batches import batches

SIZES = st.lists(st.integers(0, 12))


@given(SIZES, st.integers(1, 20), st.none() | st.integers(1, 4))
def test_batches_hold_all_in_order_and_are_full_without_being_too_large(sizes, most_bytes, most_items):
    items = list(enumerate(sizes))

    found = list(batches(items, lambda item: item[1], most_bytes, most_items))

    assert [item for batch in found for item in batch] == items
    for batch in found:
        assert len(batch) == 1 or sum(size for _, size in batch) <= most_bytes
        assert 1 <= len(batch) <= (most_items or len(items))
    for batch, following in pairwise(found):
        is_full = sum(size for _, size in batch) + following[0][1] > most_bytes
        assert is_full or len(batch) == most_items
