"""Lambda `enrichment`: Firehose's transform. Events in, rows of `enriched_landing` out, with name and place.

Every record is answered once, `Ok` or `ProcessingFailed` with its own data; never `Dropped`, which leaves no trace.
"""

import logging
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Any

import pybase64

from streaming.domain.enrichment import Place, enriched_line
from streaming.domain.envelope import Envelope
from streaming.domain.events import Event
from streaming.edges.geo import MissingPlace
from streaming.edges.look_ups import Found, LookUps, MissingName
from streaming.handlers.records import judge
from streaming.settings import load_settings

__all__ = ["enrich", "lambda_handler"]

_log = logging.getLogger(__name__)

MAX_ANSWER_BYTES = 6_000_000
_JSON_BYTES_PER_RECORD = 64

Attributes = tuple[str | None, Place | None, tuple[str, ...]]


def lambda_handler(event: Mapping[str, Any], context: object) -> dict[str, Any]:
    """Transform a batch of Firehose; `data` is base64, `approximateArrivalTimestamp` in milliseconds."""
    return {"records": enrich(event["records"], _look_ups())}


def enrich(records: Sequence[Mapping[str, Any]], look_ups: LookUps) -> list[dict[str, str]]:
    """Answer every record, in order. Look-ups are done once for the whole batch.

    The answer stays below Lambda's 6 MB: rows beyond it fail, to be replayed.
    """
    opened = [_open(record) for record in records]
    good = [pair for pair in opened if pair]
    rows = _Rows(look_ups.find({e.user_id for _, e in good}, {e.user_ip for _, e in good if e.user_ip}))
    size = sum(len(record["data"]) + len(record["recordId"]) + _JSON_BYTES_PER_RECORD for record in records)
    answers = []
    for record, pair in zip(records, opened, strict=True):
        result, data = "ProcessingFailed", record["data"]
        if pair:
            row = pybase64.b64encode_as_string(rows.line(*pair))
            if size + len(row) - len(data) <= MAX_ANSWER_BYTES:
                size += len(row) - len(data)
                result, data = "Ok", row
        answers.append({"recordId": record["recordId"], "result": result, "data": data})
    return answers


class _Rows:
    """Writes the rows of one batch; what is known of a user at an address is put together once."""

    def __init__(self, found: Found) -> None:
        self._found = found
        self._attributes: dict[tuple[str, str | None], Attributes] = {}

    def line(self, envelope: Envelope, event: Event) -> bytes:
        key = (event.user_id, event.user_ip)
        attributes = self._attributes.get(key)
        if attributes is None:
            attributes = self._attributes[key] = self._known(*key)
        return enriched_line(envelope, event, *attributes, self._found.version)

    def _known(self, user_id: str, user_ip: str | None) -> Attributes:
        name = self._found.names[user_id]
        place = self._found.places[user_ip] if user_ip else MissingPlace.NO_ADDRESS
        return (
            None if isinstance(name, MissingName) else name,
            None if isinstance(place, MissingPlace) else place,
            tuple(reason for reason in (name, place) if isinstance(reason, MissingName | MissingPlace)),
        )


def _open(record: Mapping[str, Any]) -> tuple[Envelope, Event] | None:
    """The record's envelope and event; None when it fails."""
    arrival = datetime.fromtimestamp(record["approximateArrivalTimestamp"] / 1000, UTC)
    try:
        envelope, judged = judge(pybase64.b64decode(record["data"], validate=True), arrival)
    except Exception:
        # Whatever one record sets off must not fail its neighbours; it is kept as a failed event.
        _log.exception("record %s", record["recordId"])
        return None
    return (envelope, judged) if isinstance(judged, Event) else None


@cache
def _look_ups() -> LookUps:
    return LookUps.from_settings(load_settings())
