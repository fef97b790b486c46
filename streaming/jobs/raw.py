"""The raw copy of an hour, read back as the records that were on the stream."""

import gzip
import io
import os
from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from datetime import datetime
from typing import NamedTuple

import msgspec
import pybase64

from streaming.domain.envelope import MAX_STAMP_DRIFT, Envelope, bare_record, raw_line, read_stamp
from streaming.domain.json_text import is_json
from streaming.domain.layout import hour_of
from streaming.domain.tables import DELIVERY_COLUMNS, RAW_EVENTS
from streaming.jobs.work import RawCopy

BATCH_BYTES = 1_000_000
_GZIP_MAGIC = b"\x1f\x8b"

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


def lines_of(file: io.BufferedReader, hour: datetime | None = None, raw: RawCopy | None = None) -> Iterator[bytes]:
    """The lines of a raw file, compressed or not.

    Args:
        hour: only those of records that arrived then, or may have.
        raw: what is known of a file of Firehose.
    """
    packed = file.peek(len(_GZIP_MAGIC)).startswith(_GZIP_MAGIC)
    for line in gzip.GzipFile(fileobj=file) if packed else file:
        envelope = landed(line, raw, hour) if raw and hour else None
        text = raw_line(envelope) if envelope else line
        if hour is None or hour_of(envelope.arrival if envelope else _decode(line).arrival_timestamp) == hour:
            yield text


def landed(line: bytes, of: RawCopy, hour: datetime) -> Envelope:
    """A line of Firehose's raw copy, as the stream took the record.

    A stamp is believed where it was near the record's arrival, which the copy does not tell. Most are near whenever it
    was; one that is near nothing in the file is nobody's; in between, error files tell which are not. A
    record without a stamp is taken to have arrived in whatever hour is asked for that the file was open in, so that its
    row, which has the moment, is accounted for.

    Args:
        hour: for which hour of those that the file may have rows of.
    """
    stamped = read_stamp(line)
    near = stamped is not None and is_json(stamped.text) and _may_be_near(stamped.arrival, of)
    if stamped and near and (not of.unbelieved or _is_near(stamped.arrival, of)):
        return stamped
    bare = bare_record(line, min(max(of.begun, hour), of.ended))
    if arrivals := of.unbelieved.get(bare.record_id):
        then = next((each for each in arrivals if hour_of(each) == hour), arrivals[0])
        return msgspec.structs.replace(bare, arrival=then)
    return stamped if stamped and near else bare


def _is_near(stamped: datetime, of: RawCopy) -> bool:
    """Whether a stamp was near its record's arrival, whichever moment of the file that was."""
    return of.ended - MAX_STAMP_DRIFT <= stamped <= of.begun + MAX_STAMP_DRIFT


def _may_be_near(stamped: datetime, of: RawCopy) -> bool:
    return of.begun - MAX_STAMP_DRIFT <= stamped <= of.ended + MAX_STAMP_DRIFT
