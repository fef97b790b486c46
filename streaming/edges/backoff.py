"""Trying again: how long to wait, and until when."""

import logging
import random
from collections.abc import Callable
from threading import Event
from typing import TypeVar

from streaming.edges.event_stream import StreamUnavailable

T = TypeVar("T")

_log = logging.getLogger(__name__)

# What waits for a disk, the stream or one of AWS's services.
_FIRST_PAUSE_SECONDS = 0.1
_MAX_PAUSE_SECONDS = 5.0


def pause_seconds(retry: int, first: float, most: float) -> float:
    """The pause before a retry, counted from 0: doubled each time up to a limit, and cut by up to half at random, so
    that those who failed together do not come back together."""
    return min(first * 2.0 ** min(retry, 32), most) * random.uniform(0.5, 1)  # noqa: S311 - jitter, not a secret


def full_jitter(attempt: int) -> float:
    """The pause after an attempt that one of AWS's services refused, counted from 1: anything up to a limit that
    doubles each time, as AWS's own clients have it."""
    return random.uniform(0, min(_MAX_PAUSE_SECONDS, _FIRST_PAUSE_SECONDS * 2.0**attempt))  # noqa: S311 - as above


def until_done(action: Callable[[], T], stop: Event) -> T:
    """Do what needs a disk or the stream, again and again while these refuse; once `stop` is set, only once.

    Raises:
        OSError, StreamUnavailable: it is refused still, and `stop` is set.
    """
    retry = 0
    while True:
        try:
            return action()
        except (OSError, StreamUnavailable) as error:
            _log.warning("refused, will be tried again: %s", error)
            if stop.wait(pause_seconds(retry, _FIRST_PAUSE_SECONDS, _MAX_PAUSE_SECONDS)):
                raise
        retry += 1
