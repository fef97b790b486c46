"""Run the collector until SIGTERM or SIGINT. Logs are JSON lines on stderr, without payloads."""

import logging
import sys

from streaming.edges.event_stream import EVENTS
from streaming.edges.streams import open_event_stream
from streaming.runtime.collector.app import Collector
from streaming.runtime.http_server import serve
from streaming.runtime.structured_logs import log_to_stderr
from streaming.settings import SettingError, load_settings

_log = logging.getLogger("streaming.runtime.collector")


def main() -> int:
    """Serve. Status 0 after a clean end, 2 where a setting cannot be used, 3 where the server could not start."""
    log_to_stderr("collector")
    try:
        settings = load_settings()
        collector = Collector(settings, open_event_stream(settings, EVENTS))
    except SettingError as error:
        _log.critical("%s", error)
        return 2
    return serve(collector.application(), settings.collector_host, settings.collector_port)


if __name__ == "__main__":
    sys.exit(main())
