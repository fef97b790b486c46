"""Cutting a file that Firehose landed to the rows of one hour of arrival, in the form that delivery lands here."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pybase64
from isal.igzip import IGzipFile

from streaming.domain.envelope import open_record, raw_line, read_stamp, stamp
from streaming.domain.layout import HOUR
from streaming.domain.timestamps import as_utc, format_timestamp
from streaming.jobs.raw import landed
from streaming.jobs.work import RawCopy

# What a cut holds of a file depends on the rules here and in `landed`: another number, and older cuts are not used.
RULE = 3

_ARRIVAL = "arrival_timestamp"
_GZIP_MAGIC = b"\x1f\x8b"
_ROWS = 32_768


class Line(NamedTuple):
    """A line as delivery lands it here, and when its record arrived."""

    arrival: datetime
    text: bytes


class Unbelieved(NamedTuple):
    """A record whose stamp was too far from its arrival: the identity that it has instead, and when it arrived."""

    record_id: str
    arrival: datetime


class _Row(msgspec.Struct):
    record_id: str
    arrival_timestamp: datetime


class _ErrorLine(msgspec.Struct):
    """A line of an error file of Firehose; format conversion has names of its own for code and message, two of each."""

    attemptsMade: int  # noqa: N815
    arrivalTimestamp: int  # noqa: N815
    rawData: str  # noqa: N815
    errorCode: str | None = None  # noqa: N815
    errorMessage: str | None = None  # noqa: N815
    lastErrorCode: str | None = None  # noqa: N815
    lastErrorMessage: str | None = None  # noqa: N815
    ErrorCode: str | None = None
    ErrorMessage: str | None = None


_decode_row = msgspec.json.Decoder(_Row).decode
_decode_error = msgspec.json.Decoder(_ErrorLine).decode
_encode = msgspec.json.Encoder().encode


def is_within(parquet: Path, hour: datetime) -> bool:
    """Whether all rows of a Parquet file arrived in an hour."""
    with pq.ParquetFile(parquet, coerce_int96_timestamp_unit="us") as rows:
        return all(pc.all(_in(hour, batch)).as_py() is not False for batch in rows.iter_batches(columns=[_ARRIVAL]))


def slice_parquet(source: Path, hour: datetime, target: Path) -> None:
    """Write the rows of a Parquet file that arrived in an hour; some row groups at most are in memory."""
    with (
        pq.ParquetFile(source, coerce_int96_timestamp_unit="us") as rows,
        pq.ParquetWriter(target, rows.schema_arrow, compression="snappy", store_schema=False) as writer,
    ):
        for batch in rows.iter_batches(_ROWS):
            if (kept := batch.filter(_in(hour, batch))).num_rows:
                writer.write_batch(kept)


def slice_lines(source: Path, hour: datetime, target: Path, read: Callable[[bytes], Line]) -> None:
    """Write the lines of a file, compressed or not, that arrived in an hour."""
    with target.open("wb") as file, IGzipFile(fileobj=file, mode="wb", compresslevel=1, mtime=0) as packed:  # type: ignore[no-untyped-call]
        for line in _lines(source):
            arrival, text = read(line)
            if hour <= arrival < hour + HOUR:
                packed.write(text)  # type: ignore[no-untyped-call]


def raw_reader(of: RawCopy, hour: datetime) -> Callable[[bytes], Line]:
    """Reads lines of the raw copy, which has the records as they were on the stream, for one of its hours."""

    def read(line: bytes) -> Line:
        envelope = landed(line, of, hour)
        return Line(envelope.arrival, raw_line(envelope))

    return read


def unbelieved_in(source: Path) -> Iterator[Unbelieved]:
    """The records of an error file that bear a stamp which was not believed."""
    for line in _lines(source):
        error = _decode_error(line)
        data = pybase64.b64decode(error.rawData)
        stamped = read_stamp(data)
        if stamped and (opened := open_record(data, _taken(error))).record_id != stamped.record_id:
            yield Unbelieved(opened.record_id, opened.arrival)


def read_error(line: bytes) -> Line:
    """Reads a line of an error file: the hour is that of the record in it.

    What format conversion refused is the row that enrichment made of the record, not the record; it travels on as the
    event of an envelope with the record's identity.
    """
    error = _decode_error(line)
    data = pybase64.b64decode(error.rawData)
    if error.errorCode is None and read_stamp(data) is None:
        data = _as_record(data) or data
    told = {
        "attemptsMade": error.attemptsMade,
        "arrivalTimestamp": error.arrivalTimestamp,
        "errorCode": error.errorCode or error.lastErrorCode or error.ErrorCode or "",
        "errorMessage": error.errorMessage or error.lastErrorMessage or error.ErrorMessage or "",
        "rawData": pybase64.b64encode_as_string(data),
    }
    return Line(open_record(data, _taken(error)).arrival, _encode(told) + b"\n")


def _taken(error: _ErrorLine) -> datetime:
    """When Kinesis took the record."""
    return datetime.fromtimestamp(error.arrivalTimestamp / 1000, UTC)


def _as_record(row: bytes) -> bytes | None:
    try:
        found = _decode_row(row)
    except msgspec.MsgspecError:
        return None
    return stamp(row.strip(), found.record_id, format_timestamp(as_utc(found.arrival_timestamp)), None)


def _in(hour: datetime, batch: pa.RecordBatch) -> pa.BooleanArray:
    arrived = batch[_ARRIVAL].cast(pa.timestamp("us"))
    start = pa.scalar(hour.astimezone(UTC).replace(tzinfo=None), pa.timestamp("us"))
    end = pa.scalar((hour + HOUR).astimezone(UTC).replace(tzinfo=None), pa.timestamp("us"))
    return pc.and_(pc.greater_equal(arrived, start), pc.less(arrived, end))


def _lines(file: Path) -> Iterator[bytes]:
    with file.open("rb") as plain:
        if plain.read(len(_GZIP_MAGIC)) == _GZIP_MAGIC:
            plain.seek(0)
            yield from IGzipFile(fileobj=plain)  # type: ignore[no-untyped-call]
        else:
            plain.seek(0)
            yield from plain
