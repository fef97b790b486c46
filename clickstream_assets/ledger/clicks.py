"""The click_ids of an hour of arrival that stand more than once: copies of one event, or in conflict.

Copies agree in what the client sent. In conflict are a click_id's rows that differ in it, and so also those under two
event hours.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

import pyarrow.parquet as pq

from resources.lake import File, Lake
from resources.warehouse import Source, Warehouse, sql_file
from streaming.domain.tables import ENRICHED_EVENTS


class Clicks(NamedTuple):
    """Rows of the hour that repeat a click_id of it; its click_ids that stand with other content, and a few of them."""

    repeated: int
    conflicting: int
    examples: list[str]


def compare_clicks(
    own: Sequence[File], elsewhere: Mapping[datetime, Sequence[File]], lake: Lake, warehouse: Warehouse
) -> Clicks:
    """Compare the rows of an hour with each other, and with those of other hours of arrival in the same event hours.

    First by hashes of the click_ids alone, however many rows there are; then exactly, of what may stand twice.
    """
    with lake.scratch() as scratch:
        shared = scratch / "shared_clicks.parquet"
        warehouse.save(sql_file("ledger/shared_clicks"), [], _sources(own, elsewhere.values()), shared, {})
        found_in = pq.read_table(shared, columns=["arrival_hour"])["arrival_hour"].unique().to_pylist()
        if not found_in:
            return Clicks(0, 0, [])
        hours = {hour.replace(tzinfo=UTC) for hour in found_in if hour}
        # A row may stand under another hour than that of its arrival: then it may be in any of the files.
        compared = [files for hour, files in elsewhere.items() if hour in hours or hours - elsewhere.keys()]
        sources = {**_sources(own, compared), "shared_clicks": Source(None, [shared])}
        (found,) = warehouse.select(sql_file("ledger/conflicting_clicks"), [], sources).to_pylist()
    return Clicks(found["repeated_clicks"], found["conflicting_clicks"], found["conflict_examples"])


def _sources(own: Sequence[File], elsewhere: Iterable[Sequence[File]]) -> dict[str, Source]:
    others = [file for files in elsewhere for file in files]
    return {"enriched_events": Source(ENRICHED_EVENTS, own), "elsewhere": Source(ENRICHED_EVENTS, others)}
