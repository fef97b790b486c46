"""Lambda `enrichment`: Firehose's transform. Events in, rows of `enriched_landing` out, with name and place.

Every record is answered once, `Ok` or `ProcessingFailed` with its own data; never `Dropped`, which leaves no trace.
"""

import logging
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cache, lru_cache
from typing import Any

from pybase64 import b64decode, b64encode_as_string

from streaming.domain.enrichment import Place, enriched_line
from streaming.domain.envelope import Envelope
from streaming.domain.events import Event
from streaming.edges.geo import MissingPlace
from streaming.edges.look_ups import Found, LookUps, MissingName
from streaming.handlers.records import EventJudge, event_judge
from streaming.settings import load_settings

__all__ = ["enrich", "lambda_handler"]

_log = logging.getLogger(__name__)

MAX_ANSWER_BYTES = 6_000_000
_JSON_BYTES_PER_RECORD = 64


def lambda_handler(event: Mapping[str, Any], context: object) -> dict[str, Any]:
    """Transform a batch of Firehose; `data` is base64, `approximateArrivalTimestamp` in milliseconds."""
    return {"records": enrich(event["records"], _look_ups())}


def enrich(records: Sequence[Mapping[str, Any]], look_ups: LookUps) -> list[dict[str, str]]:
    """Answer every record, in order. Look-ups are done once for the whole batch.

    The answer stays below Lambda's 6 MB: rows beyond it fail, to be replayed.
    """
    judge = event_judge()
    opened = [_open(record, judge) for record in records]
    good = [event for _, event in filter(None, opened)]
    found = look_ups.find({event.user_id for event in good}, {event.user_ip for event in good if event.user_ip})
    attributes = _Attributes(found)
    size = sum(len(record["data"]) + len(record["recordId"]) + _JSON_BYTES_PER_RECORD for record in records)
    answers = []
    for record, pair in zip(records, opened, strict=True):
        result, data = "ProcessingFailed", record["data"]
        if pair:
            envelope, event = pair
            name, place, reasons = attributes[event.user_id, event.user_ip]
            row = b64encode_as_string(enriched_line(envelope, event, name, place, reasons, found.version))
            if size + len(row) - len(data) <= MAX_ANSWER_BYTES:
                size += len(row) - len(data)
                result, data = "Ok", row
        answers.append({"recordId": record["recordId"], "result": result, "data": data})
    return answers


class _Attributes(dict[tuple[str, str | None], tuple[str | None, Place | None, tuple[str, ...]]]):
    """Name, place and the reasons of what is missing, by user and address; put together once a batch."""

    def __init__(self, found: Found) -> None:
        self._found = found

    def __missing__(self, key: tuple[str, str | None]) -> tuple[str | None, Place | None, tuple[str, ...]]:
        user_id, user_ip = key
        name = self._found.names[user_id]
        place = self._found.places[user_ip] if user_ip else MissingPlace.NO_ADDRESS
        reasons = tuple(reason for reason in (name, place) if isinstance(reason, MissingName | MissingPlace))
        self[key] = (
            None if isinstance(name, MissingName) else name,
            None if isinstance(place, MissingPlace) else place,
            reasons,
        )
        return self[key]


def _open(record: Mapping[str, Any], judge: EventJudge) -> tuple[Envelope, Event] | None:
    """The record's envelope and event; None when it fails."""
    try:
        data = b64decode(record["data"], validate=True)
        envelope, judged = judge(data, _moment(record["approximateArrivalTimestamp"]))
    except Exception:
        # Whatever one record sets off must not fail its neighbours; it is kept as a failed event.
        _log.exception("record %s", record["recordId"])
        return None
    return None if isinstance(judged, list) else (envelope, judged)


@lru_cache(maxsize=1024)
def _moment(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


@cache
def _look_ups() -> LookUps:
    return LookUps.from_settings(load_settings())
