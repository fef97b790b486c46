"""What the Lambdas share: from a record of the stream to an event that keeps the contract."""

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from functools import cache, partial
from typing import Any, NamedTuple

import pybase64

from streaming.domain.aggregated_records import deaggregate
from streaming.domain.envelope import Envelope
from streaming.domain.events import Event
from streaming.domain.failures import Fault
from streaming.edges.ingestion_api import load_contract
from streaming.settings import load_settings


class KinesisEvent(NamedTuple):
    """One good event of a Kinesis batch. `arrival` is when the edge accepted it.

    The events of an aggregate share its sequence number: the mapping's checkpoint is before all of them or behind.
    """

    sequence_number: str
    record_id: str
    arrival: datetime
    event: Event


EventJudge = Callable[[bytes, datetime], tuple[Envelope, Event | list[Fault]]]


@cache
def event_judge() -> EventJudge:
    """Judges a record of the stream, given its arrival there, by the contract and the start of this deployment."""
    return partial(load_contract().judge, start=load_settings().start)


def good_events(batch: Mapping[str, Any]) -> Iterator[KinesisEvent]:
    """The events of a Kinesis batch that keep the contract; enrichment sees to it that the others are kept."""
    judge = event_judge()
    for record in batch["Records"]:
        kinesis = record["kinesis"]
        arrival = datetime.fromtimestamp(kinesis["approximateArrivalTimestamp"], UTC)
        for data in user_data(pybase64.b64decode(kinesis["data"])):
            envelope, judged = judge(data, arrival)
            if isinstance(judged, Event):
                yield KinesisEvent(kinesis["sequenceNumber"], envelope.record_id, envelope.arrival, judged)


def user_data(data: bytes) -> list[bytes]:
    """What a producer put: of an aggregate every user record. Firehose unpacks them by itself, Lambda's mapping not."""
    packed = deaggregate(data)
    return [data] if packed is None else [record.data for record in packed]
