"""Cutting what is sent elsewhere into requests that are taken there."""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")


def batches(
    items: Iterable[Item], size: Callable[[Item], int], most_bytes: int, most_items: int | None = None
) -> Iterator[list[Item]]:
    """Items in their order, in batches of at most `most_bytes` by their `size`, and of at most `most_items`.

    An item that is larger than that by itself is a batch of its own.
    """
    batch: list[Item] = []
    total = 0
    for item in items:
        item_bytes = size(item)
        if batch and (total + item_bytes > most_bytes or len(batch) == most_items):
            yield batch
            batch, total = [], 0
        batch.append(item)
        total += item_bytes
    if batch:
        yield batch
