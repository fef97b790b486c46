"""A delivery worker whose transform breaks Firehose's contract: `python -m tests.faults.crooked_transform`.

Everything but the answer is the product's: the handler, the delivery stream, the stream, the lake.
"""

import signal
from collections.abc import Mapping
from threading import Event
from typing import Any

from streaming.edges.event_stream import DELIVERY, EVENTS
from streaming.edges.lake import LocalLake
from streaming.edges.streams import open_event_stream
from streaming.handlers import enrichment
from streaming.runtime.delivery_stream import DeliveryStream
from streaming.runtime.lambda_host import LambdaHost
from streaming.runtime.transform import Transform
from streaming.runtime.worker import Consumer, Worker, events_options
from streaming.settings import load_settings


def crooked_handler(event: Mapping[str, Any], context: object) -> dict[str, Any]:
    """The true answer backwards, without its first record, its second twice, and with one that nobody asked for."""
    missing, doubled, *rest = enrichment.lambda_handler(event, context)["records"]
    return {"records": [*reversed(rest), doubled, doubled, {**missing, "recordId": "nobody's"}]}


def main() -> None:
    settings = load_settings()
    stop = Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    transform = Transform(LambdaHost("enrichment", crooked_handler, 60), EVENTS, settings.delivery_transform_bytes)
    delivery = DeliveryStream(events_options(settings), LocalLake(settings.lake), transform)
    consumer = Consumer(DELIVERY, open_event_stream(settings, EVENTS), delivery.run)
    Worker([consumer], settings.lease_seconds, stop).run(lambda: None)


if __name__ == "__main__":
    main()
