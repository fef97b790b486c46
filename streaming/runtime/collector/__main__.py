"""Run the collector until SIGTERM or SIGINT. Logs are JSON lines on stderr, without payloads."""

import signal
import sys

from streaming.edges.event_stream import EVENTS
from streaming.edges.redis_stream import open_event_stream
from streaming.runtime.collector.app import Collector
from streaming.runtime.collector.server import server
from streaming.runtime.structured_logs import log_to_stderr
from streaming.settings import load_settings


def main() -> int:
    """Serve; 0 after a clean shutdown, 3 where the server could not start."""
    log_to_stderr("collector")
    settings = load_settings()
    stream = open_event_stream(settings, EVENTS)
    http = server(Collector(settings, stream).application(), settings.collector_host, settings.collector_port)
    # uvicorn raises the signal that ended it once more, for whoever handled it before; here that is a clean end.
    for ending in (signal.SIGTERM, signal.SIGINT):
        signal.signal(ending, lambda *_: None)
    http.run()
    return 0 if http.started else 3


if __name__ == "__main__":
    sys.exit(main())
