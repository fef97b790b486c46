"""What to send, and what became of it."""

from collections import Counter
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any


@dataclass(frozen=True)
class SendOptions:
    """What to send. The shares `bad`, `bad_stream` and `duplicates` are of the good events and come on top of them.

    `events` None sends until stopped, and its events happen now. Otherwise they are spread over the `days` that end at
    `until`, now when None. `late` events happened 1 to 5 days earlier than that. `rate` is in events a second, 0 as
    fast as the collector takes them.
    """

    url: str
    events: int | None = 10_000
    rate: float = 0.0
    batch: int = 100
    concurrency: int = 4
    bad: float = 0.0
    bad_stream: float = 0.0
    duplicates: float = 0.0
    late: float = 0.0
    days: float = 1.0
    seed: int = 1
    until: datetime | None = None
    api_key: str | None = None


@dataclass
class SendResult:
    """What became of the events. `sent` counts those over HTTP once, however often they were retried, duplicates and
    bad ones among them; `refused` is by the type of the first fault, `bad_stream` by the type they must fail with.
    """

    sent: int = 0
    accepted: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    bad: int = 0
    bad_stream: Counter[str] = field(default_factory=Counter)
    duplicates: int = 0
    late: int = 0
    retries: int = 0
    unacknowledged: int = 0
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        """Whether every good event was accepted and every bad one refused."""
        return self.accepted == self.sent - self.bad and self.refused.total() == self.bad

    def to_dict(self) -> dict[str, Any]:
        """The counts as JSON values."""
        return asdict(self) | {"refused": dict(self.refused), "bad_stream": dict(self.bad_stream)}
