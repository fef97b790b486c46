"""Which strikes come in which order: the same for the same seed."""

from collections.abc import Collection, Iterator
from random import Random
from typing import NamedTuple

from commands.soak.strikes import STRIKES, Kind, Strike

REST_SECONDS = (2.0, 6.0)


class Planned(NamedTuple):
    """A strike, how long it lasts, how long the platform is then left alone, and what it draws from."""

    strike: Strike
    lasts_seconds: float
    rest_seconds: float
    random: Random


def timetable(seed: int, kinds: Collection[Kind]) -> Iterator[Planned]:
    """Strikes without end: every one of these kinds once, in random order, then all of them again."""
    random = Random(f"strikes {seed}")  # noqa: S311 - not a secret
    strikes = [strike for strike in STRIKES if strike.kind in kinds]
    while True:
        for strike in random.sample(strikes, len(strikes)):
            yield Planned(
                strike,
                random.uniform(*strike.seconds),
                random.uniform(*REST_SECONDS),
                Random(random.getrandbits(64)),  # noqa: S311
            )
