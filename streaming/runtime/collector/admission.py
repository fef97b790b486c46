"""Which events of a request get in: each is judged by the contract, and by the pixel its sender may send for."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from streaming.domain.events import Event
from streaming.domain.failures import FailureType, Fault
from streaming.domain.validation import EventContract
from streaming.runtime.collector.problems import RefusedEvent


class GoodEvent(NamedTuple):
    """The JSON text of an event as it was sent, and what it says."""

    text: bytes
    event: Event


class Admission(NamedTuple):
    """The events of one request."""

    accepted: list[GoodEvent]
    refused: list[RefusedEvent]


def admit(
    contract: EventContract,
    texts: Sequence[bytes],
    arrival: datetime,
    start: datetime,
    pixel_id: str | None,
    in_array: bool,
) -> Admission:
    """Judge the events of a request.

    Args:
        contract: what an event must keep.
        texts: JSON text of each event.
        arrival: when the request was taken in.
        start: the earliest event time that the platform keeps.
        pixel_id: the only pixel the sender may send for; None where any will do.
        in_array: whether the request held an array, so that places begin with an index.
    """
    admission = Admission([], [])
    for index, text in enumerate(texts):
        judged = contract.check(text, arrival, start)
        if isinstance(judged, Event) and pixel_id not in (None, judged.pixel_id):
            judged = [Fault(FailureType.SCHEMA_VIOLATION, "/pixel_id", "is not the pixel of this API key")]
        if isinstance(judged, Event):
            admission.accepted.append(GoodEvent(text, judged))
        else:
            admission.refused.append(RefusedEvent(index if in_array else None, judged))
    return admission
