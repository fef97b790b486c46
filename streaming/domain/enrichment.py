"""Enrichment: an event, its place and its customer's name become one row of `enriched_landing`."""

from collections.abc import Collection
from dataclasses import dataclass

import msgspec

from streaming.domain.envelope import Envelope
from streaming.domain.events import Event, EventColumns, LookUpColumns

CODE_VERSION = "1"


@dataclass(frozen=True, slots=True)
class Place:
    """Where an address is: ISO country code, region, city, degrees. Any of them may be unknown."""

    country: str | None = None
    region: str | None = None
    city: str | None = None
    latitude: float | None = None
    longitude: float | None = None


NOWHERE = Place()

_NO_EXTRA = b',"extra":null}\n'

_encode = msgspec.json.Encoder().encode


class PendingRow(msgspec.Struct, gc=False):
    """A row of `enriched_landing` that waits for what is looked up: the text before it and behind it."""

    user_id: str
    user_ip: str | None
    head: bytes
    tail: bytes


def pending_row(envelope: Envelope, event: Event) -> PendingRow:
    """Begin the row of an event; it holds nothing else of the record, so that a batch stays small."""
    columns = EventColumns(
        envelope.record_id,
        envelope.arrival,
        event.timestamp,
        event.user_id,
        event.pixel_id,
        event.click_id,
        event.insertion_timestamp,
        event.event_name,
        event.user_ip,
        event.additional_data,
    )
    tail = _NO_EXTRA if event.extra is None else b',"extra":%b}\n' % _encode(event.extra)
    return PendingRow(event.user_id, event.user_ip, _encode(columns)[:-1], tail)


def look_up_columns(name: str | None, place: Place | None, reasons: Collection[str], version: str) -> bytes:
    """What was looked up for a user at an address, as the members of a JSON object.

    Args:
        reasons: why a name or place is missing, such as `name:unknown_user`; any order.
        version: code, geo build and users snapshot the look-ups came from.
    """
    place = place or NOWHERE
    columns = LookUpColumns(
        name,
        place.country,
        place.region,
        place.city,
        place.latitude,
        place.longitude,
        ",".join(sorted(reasons)) or None,
        version,
    )
    return _encode(columns)[1:-1]


def enriched_line(row: PendingRow, looked_up: bytes) -> bytes:
    """One line of JSON by `tables.ENRICHED_LANDING`; `looked_up` as `look_up_columns` writes it."""
    return b"%b,%b%b" % (row.head, looked_up, row.tail)
