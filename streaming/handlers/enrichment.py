"""Lambda `enrichment`: Firehose's transform. Events in, rows of `enriched_landing` out, with name and place.

Every record is answered once, `Ok` or `ProcessingFailed` with its own data; never `Dropped`, which leaves no trace.
"""

import logging
import traceback
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cache, lru_cache
from typing import Any

from pybase64 import b64decode, b64encode_as_string

from streaming.domain.enrichment import PendingRow, enriched_line, look_up_columns, pending_row
from streaming.edges.geo.places import MissingPlace
from streaming.edges.look_ups import Finder, Found, LookUps, MissingName
from streaming.handlers.records import EventJudge, event_judge
from streaming.settings import load_settings

__all__ = ["enrich", "lambda_handler"]

_log = logging.getLogger(__name__)

MAX_ANSWER_BYTES = 6_000_000
_JSON_BYTES_PER_RECORD = 64


def lambda_handler(event: Mapping[str, Any], context: object) -> dict[str, Any]:
    """Transform a batch of Firehose; `data` is base64, `approximateArrivalTimestamp` in milliseconds."""
    return {"records": enrich(event["records"], _look_ups())}


def enrich(records: Sequence[Mapping[str, Any]], look_ups: Finder) -> list[dict[str, str]]:
    """Answer every record, in order. Look-ups are done once for the whole batch.

    The answer stays below Lambda's 6 MB: rows beyond it fail, to be replayed.
    """
    judge = event_judge()
    rows = [_row(record, judge) for record in records]
    good = [row for row in rows if row]
    found = look_ups.find({row.user_id for row in good}, {row.user_ip for row in good if row.user_ip})
    columns = _Columns(found)
    size = sum(len(record["data"]) + len(record["recordId"]) + _JSON_BYTES_PER_RECORD for record in records)
    answers = []
    for record, row in zip(records, rows, strict=True):
        result, data = "ProcessingFailed", record["data"]
        if row:
            line = b64encode_as_string(enriched_line(row, columns[row.user_id, row.user_ip]))
            if size + len(line) - len(data) <= MAX_ANSWER_BYTES:
                size += len(line) - len(data)
                result, data = "Ok", line
        answers.append({"recordId": record["recordId"], "result": result, "data": data})
    return answers


class _Columns(dict[tuple[str, str | None], bytes]):
    """What was looked up, by user and address, written once a batch."""

    def __init__(self, found: Found) -> None:
        self._found = found

    def __missing__(self, key: tuple[str, str | None]) -> bytes:
        user_id, user_ip = key
        name = self._found.names[user_id]
        place = self._found.places[user_ip] if user_ip else MissingPlace.NO_ADDRESS
        self[key] = look_up_columns(
            None if isinstance(name, MissingName) else name,
            None if isinstance(place, MissingPlace) else place,
            [reason for reason in (name, place) if isinstance(reason, MissingName | MissingPlace)],
            self._found.version,
        )
        return self[key]


def _row(record: Mapping[str, Any], judge: EventJudge) -> PendingRow | None:
    """The record's row, so far; None when the record fails."""
    try:
        data = b64decode(record["data"], validate=True)
        envelope, judged = judge(data, _moment(record["approximateArrivalTimestamp"]))
        return None if isinstance(judged, list) else pending_row(envelope, judged)
    except Exception as error:
        # Whatever one record sets off must not fail its neighbours; it is kept as a failed event. The error's message
        # may quote the event, and logs hold no payloads.
        place = traceback.extract_tb(error.__traceback__)[-1]
        _log.error("record %s: %s in %s:%s", record["recordId"], type(error).__name__, place.name, place.lineno)
        return None


@lru_cache(maxsize=1024)
def _moment(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


@cache
def _look_ups() -> LookUps:
    return LookUps.from_settings(load_settings())
