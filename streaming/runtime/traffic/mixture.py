"""What goes out, in which order: a shop's events, and among them the bad, the late and those that are sent again."""

import heapq
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import cycle
from random import Random
from typing import Literal, NamedTuple

from streaming.runtime.traffic.bad_events import SPOILERS, Spoiler
from streaming.runtime.traffic.options import SendOptions
from streaming.runtime.traffic.shop import Shop, Step, event_json

# A copy follows its original by this many events at most: in the same request, a later one, or a later batch file.
_MAX_COPY_DISTANCE = 5_000
_HOUR = 3_600_000_000
_LATE_HOURS = (24, 120)


class Outgoing(NamedTuple):
    """One event to send; `type` is what a bad one must fail with."""

    kind: Literal["good", "late", "duplicate", "bad", "bad_stream"]
    user_id: str
    data: bytes
    type: str = ""


def mixture(options: SendOptions) -> Iterator[Outgoing]:
    """What `options` ask for, the same for the same seed, count and `until`."""
    draw = Random(f"mixture {options.seed}").random  # noqa: S311 - a simulation
    spoilers = cycle(SPOILERS)
    copies: list[tuple[int, bytes, str]] = []
    for number, (step, at) in enumerate(_happenings(options)):
        late = draw() < options.late
        data = event_json(step, at - _HOUR * _between(_LATE_HOURS, draw()) if late else at)
        yield Outgoing("late" if late else "good", step.user_id, data)
        if draw() < options.duplicates:
            heapq.heappush(copies, (number + _between((1, _MAX_COPY_DISTANCE), draw()), data, step.user_id))
        while copies and copies[0][0] <= number:
            yield _copy(copies)
        if draw() < options.bad:
            yield _spoiled("bad", step, next(spoilers), data)
        if draw() < options.bad_stream:
            yield _spoiled("bad_stream", step, next(spoilers), data)
    while copies:
        yield _copy(copies)


def _happenings(options: SendOptions) -> Iterator[tuple[Step, int]]:
    """The shop's steps and when each happens, in microseconds since 1970."""
    shop = Shop(options.seed)
    if options.events is None:
        for step in shop.live(options.rate):
            yield step, time.time_ns() // 1_000
    else:
        end = round((options.until or datetime.now(UTC)).timestamp() * 1_000_000)
        width = max(1, round(options.days * 24 * _HOUR))
        for step in shop.history(options.events, end - width, end):
            yield step, step.at


def _copy(copies: list[tuple[int, bytes, str]]) -> Outgoing:
    _, data, user_id = heapq.heappop(copies)
    return Outgoing("duplicate", user_id, data)


def _spoiled(kind: Literal["bad", "bad_stream"], step: Step, spoiler: Spoiler, data: bytes) -> Outgoing:
    return Outgoing(kind, step.user_id, spoiler.spoil(data), spoiler.type)


def _between(bounds: tuple[int, int], drawn: float) -> int:
    low, high = bounds
    return low + int(drawn * (high - low))
