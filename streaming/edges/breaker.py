"""A circuit breaker: after failures a dependency is left alone for a while, so that each batch does not wait for it."""

import time
from collections.abc import Callable

__all__ = ["CircuitBreaker"]


class CircuitBreaker:
    """Opens after `threshold` failures in a row, lets calls through again after `cool_down_seconds`."""

    def __init__(self, threshold: int, cool_down_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._threshold = threshold
        self._cool_down_seconds = cool_down_seconds
        self._clock = clock
        self._failures = 0
        self._open_until = 0.0

    @property
    def is_open(self) -> bool:
        return self._clock() < self._open_until

    def succeeded(self) -> None:
        self._failures = 0

    def failed(self) -> None:
        self._failures += 1
        if self._failures >= self._threshold:
            self.open_for(self._cool_down_seconds)

    def open_for(self, seconds: float) -> None:
        self._open_until = max(self._open_until, self._clock() + seconds)
