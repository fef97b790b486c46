"""A soak from its first event to its verdict: traffic, one strike after the other, and what the tables then hold."""

import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from subprocess import TimeoutExpired
from threading import Event, Thread

from redis import RedisError

from commands.soak.strikes import Kind
from commands.soak.target import POLL_SECONDS, Target
from commands.soak.timetable import Planned, timetable
from commands.soak.verdict import Finding, judge
from commands.status import records_behind
from streaming.edges.event_stream import StreamUnavailable
from streaming.runtime.supervisor import QUICK_DEATH_SECONDS

RECOVERY_SECONDS = 90.0
DRAIN_SECONDS = 300.0
STRIKES_BETWEEN_CHECKS = 10
SAMPLE_SECONDS = 1.0
BEFORE_FIRST_SECONDS = 5.0


@dataclass
class Struck:
    """A strike that was carried out. `at` is seconds since the start of the soak; `recovered_seconds` how long after
    its end the platform was well again, None if not within RECOVERY_SECONDS; `error` why it could not strike."""

    name: str
    rows: tuple[int, ...]
    at: float
    lasted_seconds: float = 0.0
    recovered_seconds: float | None = None
    error: str = ""


@dataclass
class Campaign:
    """Strikes at a target that has traffic. `now` says in words what goes on; `checks` are those under traffic."""

    target: Target
    seconds: float
    started: float = field(default_factory=time.monotonic)
    struck: list[Struck] = field(default_factory=list)
    checks: list[Finding] = field(default_factory=list)
    most_behind: int = 0
    now: str = ""

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.started

    def strike(self, seed: int, kinds: Collection[Kind]) -> None:
        """Strike, and check in between, until the time is over or the target's `stop` is set."""
        plan = timetable(seed, kinds)
        with self._sampled_backlog():
            self._pause(BEFORE_FIRST_SECONDS)
            for number in count(1):
                self._carry_out(next(plan))
                if self._is_over():
                    break
                if number % STRIKES_BETWEEN_CHECKS == 0:
                    self.now = "checked under traffic"
                    self.checks += judge(self.target)
        self.now = ""

    def drain(self) -> bool:
        """Wait until every consumer has done what is on the stream; whether they have."""
        self.now = "the consumers catch up"
        return self._wait(lambda: self._behind() == 0, DRAIN_SECONDS)

    def _carry_out(self, planned: Planned) -> None:
        strike, target = planned.strike, self.target
        # The supervisor gives up on a service that keeps dying as soon as it is up; ours shall live before it dies.
        while strike.kills and target.seconds_up(*strike.kills) < QUICK_DEATH_SECONDS and not self._is_over():
            self._pause(POLL_SECONDS)
        if self._is_over():
            return
        struck = Struck(strike.name, strike.rows, self.elapsed)
        self.struck.append(struck)
        self.now = strike.name
        try:
            with strike.inflict(target, planned.random):
                self._pause(planned.lasts_seconds)
        except (StreamUnavailable, RedisError, TimeoutExpired) as error:
            struck.error = repr(error)
        struck.lasted_seconds = self.elapsed - struck.at
        self.now = f"after {strike.name}"
        if self._wait(target.is_well, RECOVERY_SECONDS):
            struck.recovered_seconds = self.elapsed - struck.at - struck.lasted_seconds
        self._pause(planned.rest_seconds)

    def _is_over(self) -> bool:
        return self.elapsed >= self.seconds or self.target.stop.is_set()

    def _pause(self, seconds: float) -> None:
        self.target.stop.wait(seconds)

    def _wait(self, condition: Callable[[], bool], seconds: float) -> bool:
        """Wait for a condition; whether it came."""
        deadline = time.monotonic() + seconds
        while not self.target.gone.wait(POLL_SECONDS):
            if condition():
                return True
            if time.monotonic() > deadline:
                break
        return False

    def _behind(self) -> int | None:
        try:
            return records_behind(self.target.settings)
        except StreamUnavailable:
            return None

    @contextmanager
    def _sampled_backlog(self) -> Iterator[None]:
        over = Event()

        def sample() -> None:
            while not over.wait(SAMPLE_SECONDS):
                self.most_behind = max(self.most_behind, self._behind() or 0)

        sampler = Thread(target=sample, name="backlog")
        sampler.start()
        try:
            yield
        finally:
            over.set()
            sampler.join()
