"""The raw copy of an hour, read back as the records that were on the stream."""

import gzip
import os
from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from datetime import datetime
from typing import IO, NamedTuple

import msgspec
import pybase64

from streaming.domain.layout import hour_of
from streaming.domain.tables import DELIVERY_COLUMNS, RAW_EVENTS

BATCH_BYTES = 1_000_000

# raw_events, read for its identities alone.
RAW_IDENTITIES = replace(RAW_EVENTS, columns=DELIVERY_COLUMNS)


class _RawLine(msgspec.Struct):
    record_id: str
    arrival_timestamp: datetime
    event_base64: str | None = None


_decode = msgspec.json.Decoder(_RawLine).decode


class RawRecord(NamedTuple):
    """One record as it stood on the stream, and when it arrived (UTC)."""

    record_id: str
    arrival: datetime
    data: bytes


def raw_records(
    files: "Iterable[os.PathLike[str] | IO[bytes]]",
    wanted: Collection[str] | None = None,
    hour: datetime | None = None,
) -> Iterator[list[RawRecord]]:
    """The distinct records of raw files, in batches of about BATCH_BYTES.

    A batch is of one file, whoever reads it. A delivery that was repeated may come again in another batch.

    Args:
        wanted: no others than these identities.
        hour: no others than those that arrived then (UTC).
    """
    for file in files:
        batch: dict[str, RawRecord] = {}
        size = 0
        with gzip.open(file) as lines:
            for line in lines:
                raw = _decode(line)
                if wanted is not None and raw.record_id not in wanted:
                    continue
                if hour is not None and hour_of(raw.arrival_timestamp) != hour:
                    continue
                data = line if raw.event_base64 is None else pybase64.b64decode(raw.event_base64)
                batch[raw.record_id] = RawRecord(raw.record_id, raw.arrival_timestamp, data)
                size += len(data)
                if size >= BATCH_BYTES:
                    yield list(batch.values())
                    batch, size = {}, 0
        if batch:
            yield list(batch.values())
