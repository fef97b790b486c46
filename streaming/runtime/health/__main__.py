"""Serve the platform's Prometheus metrics until SIGTERM: `python -m streaming.runtime.health --port PORT NAME=URL…`.

Each NAME=URL is a process that counts for itself; its metrics are served with the platform's.
"""

import argparse
import signal
import sys
from threading import Event
from types import FrameType

from prometheus_client import CollectorRegistry, start_http_server

from streaming.runtime.health.prometheus import PlatformMetrics
from streaming.runtime.servers import LOOPBACK
from streaming.runtime.structured_logs import log_to_stderr
from streaming.settings import load_settings


def main(arguments: list[str]) -> None:
    """Serve; what is down is told by the metrics."""
    parser = argparse.ArgumentParser(prog="python -m streaming.runtime.health")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("targets", nargs="*", type=lambda target: target.partition("=")[::2])
    options = parser.parse_args(arguments)
    log_to_stderr("metrics")
    stop = Event()

    def request_stop(_signal: int, _frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, request_stop)
    signal.signal(signal.SIGINT, request_stop)
    registry = CollectorRegistry()
    registry.register(PlatformMetrics(load_settings(), dict(options.targets)))
    start_http_server(options.port, LOOPBACK, registry)
    stop.wait()


if __name__ == "__main__":
    main(sys.argv[1:])
