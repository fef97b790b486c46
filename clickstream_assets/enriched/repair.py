"""Repairing what an outage of the cache, MySQL or the geo provider cost: rows whose look-ups failed.

These rows alone are enriched once more, as the stream does it. Where that finds more, they are landed as another copy,
which the seal prefers; all other rows keep what was looked up for them in their time. An hour that was made from raw is
made from raw again by its next seal.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from itertools import chain, islice
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from clickstream_assets.enriched.heal import MOST_AT_ONCE, landing_name
from clickstream_assets.ledger.balance import read_ledger
from resources.lake import Lake
from streaming.domain.tables import ENRICHED_EVENTS, EVENT_LEDGER, RAW_EVENTS
from streaming.edges.look_ups import Finder
from streaming.edges.parquet import parquet_bytes
from streaming.jobs.enrichment import enrich_records
from streaming.jobs.raw import RawRecord, raw_records

LOOKUP_FAILED = "lookup_failed"


class Repaired(NamedTuple):
    """Rows of an hour whose look-ups had failed, and how many of them were landed with more."""

    degraded: int
    filled: int


def degraded_hours(lake: Lake, since: datetime | None = None) -> list[datetime]:
    """Sealed hours of arrival with degraded rows, those with most of them first."""
    lake = lake.snapshot()
    hours = [hour for hour in lake.hours(EVENT_LEDGER) if since is None or hour >= since]
    sealed = [hour for hour in hours if lake.partition(ENRICHED_EVENTS, hour)]
    degraded = [balance for balance in read_ledger(sealed, lake) if balance.degraded_records]
    return [each.arrival_hour for each in sorted(degraded, key=lambda each: each.degraded_records, reverse=True)]


def count_degraded(hour: datetime, lake: Lake) -> int:
    """The rows of a sealed hour whose look-ups failed."""
    return sum(rows.num_rows for rows in _degraded(hour, lake))


def repair(hour: datetime, lake: Lake, look_ups: Finder) -> Repaired:
    """Land a fuller copy of an hour's degraded rows, as far as look-ups find more now; the next seal takes it.

    A batch of which nothing is found ends it where none was found before: what is asked is still down. Trying again
    adds no files, for a copy is named after the rows in it.
    """
    filled = 0
    pairs = (zip(*rows.to_pydict().values(), strict=True) for rows in _degraded(hour, lake))
    failed = ((record_id, _failures(reasons)) for record_id, reasons in chain.from_iterable(pairs))
    while some := dict(islice(failed, MOST_AT_ONCE)):
        for records in raw_records(lake.list_hour(RAW_EVENTS.prefix, hour), some):
            fuller = _fuller(records, some, look_ups)
            if fuller.num_rows:
                lake.publish(landing_name(hour, "repair", fuller["record_id"].to_pylist()), parquet_bytes(fuller))
                filled += fuller.num_rows
            elif not filled:
                return Repaired(count_degraded(hour, lake), 0)
    return Repaired(count_degraded(hour, lake), filled)


def _fuller(records: Sequence[RawRecord], failed: Mapping[str, int], look_ups: Finder) -> pa.Table:
    """The rows of records that lack less than they did."""
    rows, _ = enrich_records(records, look_ups)
    reasons = zip(rows["record_id"].to_pylist(), rows["missing_reasons"].to_pylist(), strict=True)
    return rows.filter(pa.array([_failures(reason) < failed[record_id] for record_id, reason in reasons]))


def _degraded(hour: datetime, lake: Lake) -> Iterator[pa.RecordBatch]:
    """The degraded rows of a sealed hour: record_id and missing_reasons."""
    sealed = lake.partition(ENRICHED_EVENTS, hour)
    if sealed is None:
        return
    with pq.ParquetFile(sealed) as rows:
        for batch in rows.iter_batches(columns=["record_id", "missing_reasons"]):
            yield batch.filter(pc.match_substring(batch["missing_reasons"], LOOKUP_FAILED))


def _failures(reasons: str | None) -> int:
    return (reasons or "").count(LOOKUP_FAILED)
