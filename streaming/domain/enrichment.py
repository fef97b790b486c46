"""Enrichment: an event, its place and its customer's name become one row of `enriched_landing`."""

from collections.abc import Collection
from dataclasses import dataclass

import msgspec

from streaming.domain.envelope import Envelope
from streaming.domain.events import EnrichedEvent, Event

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

_encode = msgspec.json.Encoder().encode


def enriched_line(
    envelope: Envelope, event: Event, name: str | None, place: Place | None, reasons: Collection[str], version: str
) -> bytes:
    """One line of JSON by `tables.ENRICHED_LANDING`.

    Args:
        reasons: why a name or place is missing, such as `name:unknown_user`; any order.
        version: code, geo build and users snapshot the look-ups came from.
    """
    place = place or NOWHERE
    row = EnrichedEvent(
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
        name,
        place.country,
        place.region,
        place.city,
        place.latitude,
        place.longitude,
        ",".join(sorted(reasons)) if reasons else None,
        version,
        event.extra,
    )
    return _encode(row) + b"\n"
