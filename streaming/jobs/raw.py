"""The raw copy of an hour, read back as the records that were on the stream."""

import gzip
import io
import os
from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import NamedTuple

import msgspec
import pybase64

from streaming.domain.envelope import Envelope, open_record, raw_line, read_envelope
from streaming.domain.layout import hour_of
from streaming.domain.tables import DELIVERY_COLUMNS, RAW_EVENTS

BATCH_BYTES = 1_000_000
_GZIP_MAGIC = b"\x1f\x8b"

# raw_events, read for its identities alone.
RAW_IDENTITIES = replace(RAW_EVENTS, columns=DELIVERY_COLUMNS)


class _RawLine(msgspec.Struct):
    record_id: str
    arrival_timestamp: datetime
    event_base64: str | None = None


class _Stamped(msgspec.Struct):
    arrival_timestamp: datetime


_decode_stamped = msgspec.json.Decoder(_Stamped).decode
_decode = msgspec.json.Decoder(_RawLine).decode


class RawRecord(NamedTuple):
    """One record as it stood on the stream, and when it arrived (UTC)."""

    record_id: str
    arrival: datetime
    data: bytes


def raw_records(
    files: "Iterable[os.PathLike[str]]", wanted: Collection[str] | None = None
) -> Iterator[list[RawRecord]]:
    """The distinct records of raw files, in batches of about BATCH_BYTES; `wanted` limits them to these identities.

    A batch is of one file, whoever reads it. A delivery that was repeated may come again in another batch.
    """
    for file in files:
        with gzip.open(file) as lines:
            yield from batches(lines, wanted)


def batches(lines: Iterable[bytes], wanted: Collection[str] | None = None) -> Iterator[list[RawRecord]]:
    """The distinct records of the lines of one raw file."""
    batch: dict[str, RawRecord] = {}
    size = 0
    for line in lines:
        raw = _decode(line)
        if wanted is not None and raw.record_id not in wanted:
            continue
        data = line if raw.event_base64 is None else pybase64.b64decode(raw.event_base64)
        batch[raw.record_id] = RawRecord(raw.record_id, raw.arrival_timestamp, data)
        size += len(data)
        if size >= BATCH_BYTES:
            yield list(batch.values())
            batch, size = {}, 0
    if batch:
        yield list(batch.values())


def lines_of(file: io.BufferedReader, hour: datetime | None, begun: datetime | None) -> Iterator[bytes]:
    """The lines of a raw file, compressed or not.

    Args:
        hour: only those of records that arrived then, or may have.
        begun: when the oldest record arrived, where lines are what was on the stream and not all tell their arrival.
    """
    packed = file.peek(len(_GZIP_MAGIC)).startswith(_GZIP_MAGIC)
    for line in gzip.GzipFile(fileobj=file) if packed else file:
        envelope = landed(line, begun, hour) if begun else None
        text = raw_line(envelope) if envelope else line
        if hour is None or hour_of(envelope.arrival if envelope else _decode(line).arrival_timestamp) == hour:
            yield text


def landed(line: bytes, begun: datetime, hour: datetime | None = None) -> Envelope:
    """A line of Firehose's raw copy, which has the records as they were on the stream.

    The copy does not tell when they got there. A stamp from long before the oldest of them is none for this stream
    either; and a record without one is taken to have arrived in whatever hour is asked for, so that its row, which has
    the moment, is accounted for.

    Args:
        begun: when the oldest record of the file arrived.
        hour: for which hour of those that the file may have rows of; None: the first.
    """
    try:
        stamped = _decode_stamped(line).arrival_timestamp
        stamped = stamped.astimezone(UTC) if stamped.tzinfo else stamped.replace(tzinfo=UTC)
        envelope = read_envelope(line, max(stamped, begun))
    except (msgspec.MsgspecError, OverflowError):
        envelope = None
    return envelope or open_record(line, max(begun, hour or begun))
