"""The envelope an edge stamps on every event, and the identity of what travels without one.

On the wire, one line: `{"record_id":…,"arrival_timestamp":…,"client_ip":…,"event":{…}}`, keys in this order and no
white space outside the event. `client_ip` is the address the edge vouches for; null where the payload's is trusted.
"""

import hashlib
import itertools
import re
import secrets
import time
from datetime import datetime, timedelta
from functools import lru_cache

import msgspec
import pybase64

from streaming.domain.json_text import is_json, one_line
from streaming.domain.timestamps import format_timestamp

# An edge stamps a record moments before the stream takes it; farther apart, the stamp is not an edge's.
MAX_STAMP_DRIFT = timedelta(minutes=15)

# Identities of different processes differ here, those of one process by their number: a source of randomness that is
# asked for every request would cost more than the rest of the stamp.
_PROCESS = secrets.token_hex(6)
_numbers = itertools.count()

_HEADER = re.compile(
    rb'\{"record_id":"([0-9a-f]{32})"'
    rb',"arrival_timestamp":"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z)"'
    rb',"client_ip":(?:null|"([0-9A-Fa-f:.]{2,45})")'
    rb',"event":'
)


class Envelope(msgspec.Struct, frozen=True, gc=False):
    """One delivery. `event` is its JSON text, None for bytes that are no JSON; `data` the bytes sent."""

    record_id: str
    arrival: datetime
    client_ip: str | None
    event: bytes | None
    data: bytes

    @property
    def text(self) -> bytes:
        """What the contract judges: the event, or else the bytes themselves."""
        return self.data if self.event is None else self.event


def new_record_ids(count: int) -> list[str]:
    """Unique identities for the records of one request: 32 lower-case hex digits that sort by time."""
    head = f"{time.time_ns() // 1_000_000:012x}{_PROCESS}"
    return [f"{head}{next(_numbers) & 0xFFFFFFFF:08x}" for _ in range(count)]


def stamp(event: bytes, record_id: str, arrival: str, client_ip: str | None) -> bytes:
    """The wire form of one event. `event` is valid JSON text; `arrival` as `format_timestamp` writes it."""
    address = f'"{client_ip}"' if client_ip else "null"
    header = f'{{"record_id":"{record_id}","arrival_timestamp":"{arrival}","client_ip":{address},"event":'
    return b"%b%b}\n" % (header.encode(), one_line(event))


def open_record(data: bytes, stream_arrival: datetime) -> Envelope:
    """Read one record of the stream: an envelope, a bare event, or bytes that are no JSON. Never raises."""
    envelope = read_envelope(data, stream_arrival)
    if envelope is not None and is_json(envelope.text):
        return envelope
    return bare_record(data, stream_arrival)


def bare_record(data: bytes, stream_arrival: datetime) -> Envelope:
    """What carries no envelope of an edge: identified by the hash of its bytes, it arrived when the stream got it."""
    record_id = hashlib.sha256(data).hexdigest()[:32]
    return Envelope(record_id, stream_arrival, None, data.strip() if is_json(data) else None, data)


def read_envelope(data: bytes, stream_arrival: datetime) -> Envelope | None:
    """The envelope an edge stamped, if there is one. Whether its event is JSON at all is left to the caller."""
    envelope = read_stamp(data)
    return envelope if envelope and abs(envelope.arrival - stream_arrival) <= MAX_STAMP_DRIFT else None


def read_stamp(data: bytes) -> Envelope | None:
    """What looks like an envelope, whoever stamped it, and whenever that says it was."""
    header = _HEADER.match(data)
    text = data.rstrip()
    if header is None or not text.endswith(b"}"):
        return None
    record_id, stamped, client_ip = header.groups()
    arrival = _stamped_arrival(stamped)
    if arrival is None:
        return None
    return Envelope(
        record_id.decode(), arrival, client_ip.decode() if client_ip else None, text[header.end() : -1], data
    )


def raw_line(envelope: Envelope) -> bytes:
    """The record's line in the raw copy: its wire form; bytes that are no JSON travel in base64."""
    if _is_raw_line(envelope):
        return envelope.data
    arrival = format_timestamp(envelope.arrival)
    if envelope.event is not None:
        return stamp(envelope.event, envelope.record_id, arrival, envelope.client_ip)
    header = f'{{"record_id":"{envelope.record_id}","arrival_timestamp":"{arrival}","client_ip":null'
    return b'%b,"event":null,"event_base64":"%b"}\n' % (header.encode(), pybase64.b64encode(envelope.data))


def _is_raw_line(envelope: Envelope) -> bool:
    """Whether the bytes are as `stamp` writes them. What bears its own record_id was stamped: a hash cannot."""
    data = envelope.data
    return (
        data.startswith(b'{"record_id":"%b"' % envelope.record_id.encode())
        and data.endswith(b"}\n")
        and data.count(b"\n") == 1
        and b"\r" not in data
    )


@lru_cache(maxsize=1024)
def _stamped_arrival(text: bytes) -> datetime | None:
    """An edge stamps the events of one request alike, hence the cache."""
    try:
        return datetime.fromisoformat(text.decode())  # the header's pattern leaves only the calendar to judge
    except ValueError:
        return None
