"""A synthetic shop: customers who come back, sessions that walk towards a purchase, products with stable prices.

Everything is drawn from one seed: the same seed, count and window of time give the same events, byte for byte.
Times are microseconds since 1970.
"""

import hashlib
import heapq
from bisect import bisect
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import accumulate, pairwise
from random import Random
from typing import NamedTuple

from streaming.runtime.traffic.networks import ELSEWHERE, UNITED_STATES

KNOWN_USERS = 1_000
UNKNOWN_USERS = 50
PRODUCTS = 2_000
MAX_SESSION_STEPS = 12

_UNKNOWN_SHARE = 0.01
_UNITED_STATES_SHARE = 0.75
_AWAY_SHARE = 0.15
_SECOND = 1_000_000
_HOUR = 3_600 * _SECOND
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# How busy each hour of a UTC day is: most shoppers are American, and shop in the evening.
_BUSY = (90, 95, 92, 80, 62, 45, 30, 22, 18, 17, 20, 26, 36, 46, 55, 60, 63, 66, 68, 70, 72, 76, 82, 87)
# What follows an action, and how likely; the rest of the time the shopper leaves.
_NEXT = {
    "Search": (("ViewContent", 0.72), ("Search", 0.12)),
    "ViewContent": (("AddToCart", 0.24), ("ViewContent", 0.34), ("Search", 0.14)),
    "AddToCart": (("Purchase", 0.38), ("ViewContent", 0.26), ("Search", 0.08)),
    "Purchase": (("Search", 0.08),),
}
# Longest stay in seconds, and the exponent that bends the share of the page that is seen: 1 is even, less is more.
_STAY = {"Search": (45, 1.6), "ViewContent": (180, 0.8), "AddToCart": (60, 0.6), "Purchase": (120, 0.4)}


class User(NamedTuple):
    """One shopper: where they mostly are, and where they are otherwise."""

    user_id: str
    pixel_id: str
    home: str
    away: str


class Step(NamedTuple):
    """One action of a session; `price` in text as JSON shows it."""

    at: int
    click_id: str
    user_id: str
    pixel_id: str
    address: str
    event_name: str
    product_id: int
    price: str
    time_on_data: int
    percent_viewed: float


class Shop:
    """The shop of one seed."""

    def __init__(self, seed: int) -> None:
        random = Random(f"shop {seed}")  # noqa: S311 - a simulation
        self._users = [_user(user_id, random) for user_id in range(1, KNOWN_USERS + UNKNOWN_USERS + 1)]
        known = _zipf(KNOWN_USERS, 0.75, random)
        unknown = sum(known) * _UNKNOWN_SHARE / (1 - _UNKNOWN_SHARE) / UNKNOWN_USERS
        self._user_weights = list(accumulate([*known, *[unknown] * UNKNOWN_USERS]))
        self._products = [
            (product_id, f"{1 + min(4_998.0, random.lognormvariate(3.6, 1.0)):.2f}".rstrip("0").rstrip("."))
            for product_id in random.sample(range(100_000, 1_000_000), PRODUCTS)
        ]
        self._product_weights = list(accumulate(_zipf(PRODUCTS, 0.8, random)))
        self._random = Random(f"traffic {seed}")  # noqa: S311 - a simulation

    def history(self, count: int, begin: int, end: int) -> Iterator[Step]:
        """Exactly `count` steps in order of time, spread over [begin, end) as the hours of a day are busy."""
        return _interleaved(self._past_sessions(count, _busy_time(begin, end), end))

    def live(self, rate: float) -> Iterator[Step]:
        """Steps without end, `rate` a second; their times count from 0."""
        return _interleaved(self._sessions_at(rate))

    def _past_sessions(self, count: int, time_at: Callable[[float], int], end: int) -> Iterator[list[Step]]:
        drawn = 0
        while drawn < count:
            session = self._session(time_at(drawn / count), end)[: count - drawn]
            drawn += len(session)
            yield session

    def _sessions_at(self, rate: float) -> Iterator[list[Step]]:
        drawn = 0
        while True:
            session = self._session(round(drawn / rate * _SECOND))
            drawn += len(session)
            yield session

    def _session(self, start: int, end: int | None = None) -> list[Step]:
        """One visit; a visit that would pass `end` hurries."""
        draw = self._random.random
        user = self._users[_pick(self._user_weights, draw())]
        address = user.away if draw() < _AWAY_SHARE else user.home
        actions = self._actions(draw)
        times = [0, *accumulate(round((stay + 1 + 3 * draw()) * _SECOND) for _, stay, _ in actions[:-1])]
        hurry = 1.0 if end is None else min(1.0, (end - 1 - start) / max(1, times[-1]))
        product_id, price = self._product(draw)
        steps = []
        for (event_name, stay, seen), offset in zip(actions, times, strict=True):
            if event_name in ("Search", "ViewContent"):
                product_id, price = self._product(draw)
            click_id = f"{self._random.getrandbits(128):032x}"
            at = start + int(offset * hurry)
            steps.append(
                Step(at, click_id, user.user_id, user.pixel_id, address, event_name, product_id, price, stay, seen)
            )
        return steps

    def _actions(self, draw: Callable[[], float]) -> list[tuple[str, int, float]]:
        """The visit's actions: event name, seconds on the page, percent of it seen."""
        actions: list[tuple[str, int, float]] = []
        name: str | None = "Search"
        while name is not None and len(actions) < MAX_SESSION_STEPS:
            longest, bend = _STAY[name]
            seen = draw() ** bend
            stay = 2 + int(longest * (0.3 * seen + 0.7 * draw() ** 2))
            actions.append((name, stay, round(100 * seen, 1)))
            name = _following(name, draw())
        return actions

    def _product(self, draw: Callable[[], float]) -> tuple[int, str]:
        return self._products[_pick(self._product_weights, draw())]


def event_json(step: Step, at: int) -> bytes:
    """The step as an event that happened at `at`, in the article's form."""
    happened = _EPOCH + timedelta(microseconds=at)
    queued = happened + timedelta(microseconds=20 + int(step.click_id[:2], 16) // 4)
    return (
        f'{{"timestamp":"{happened.isoformat(" ", "microseconds")[:26]}","user_id":"{step.user_id}",'
        f'"pixel_id":"{step.pixel_id}","click_id":"{step.click_id}",'
        f'"insertion_timestamp":"{queued.isoformat(" ", "microseconds")[:26]}","event_name":"{step.event_name}",'
        f'"user_ip":"{step.address}","additional_data":{{"time_on_data":{step.time_on_data},'
        f'"percent_viewed":{step.percent_viewed},"product_id":{step.product_id},"price":{step.price}}}}}'
    ).encode()


def _interleaved(sessions: Iterable[list[Step]]) -> Iterator[Step]:
    """Steps of sessions that overlap, in order of time; the sessions come in order of their beginnings."""
    ahead: list[Step] = []
    for session in sessions:
        start = session[0].at
        while ahead and ahead[0].at <= start:
            yield heapq.heappop(ahead)
        for step in session:
            heapq.heappush(ahead, step)
    while ahead:
        yield heapq.heappop(ahead)


def _busy_time(begin: int, end: int) -> Callable[[float], int]:
    """From a share of the events of [begin, end), 0 to 1, to the time by which so many have happened."""
    edges: list[int] = [begin, *range(begin - begin % _HOUR + _HOUR, end, _HOUR), end]
    spans = list(pairwise(edges))
    passed: list[float] = [
        0.0,
        *accumulate((after - before) * float(_BUSY[before // _HOUR % 24]) for before, after in spans),
    ]

    def time_at(share: float) -> int:
        wanted = share * passed[-1]
        hour = min(bisect(passed, wanted), len(spans)) - 1
        before, after = spans[hour]
        return before + int((wanted - passed[hour]) / (passed[hour + 1] - passed[hour]) * (after - before))

    return time_at


def _following(name: str, drawn: float) -> str | None:
    for following, odds in _NEXT[name]:
        drawn -= odds
        if drawn < 0:
            return following
    return None


def _pick(cumulative_weights: list[float], drawn: float) -> int:
    return min(bisect(cumulative_weights, drawn * cumulative_weights[-1]), len(cumulative_weights) - 1)


def _zipf(count: int, exponent: float, random: Random) -> list[float]:
    weights = [1 / rank**exponent for rank in range(1, count + 1)]
    random.shuffle(weights)
    return weights


def _user(user_id: int, random: Random) -> User:
    return User(str(user_id), _pixel_id(user_id), _address(random), _address(random))


def _pixel_id(user_id: int) -> str:
    """The pixel that the demo customer of this id signed up through (sql/mysql/seed.sql)."""
    named = {20: "fytil06mrm", 35: "wjgao4w1oi"}
    return named.get(user_id) or hashlib.sha256(f"pixel-{user_id}".encode()).hexdigest()[:10]


def _address(random: Random) -> str:
    networks = UNITED_STATES if random.random() < _UNITED_STATES_SHARE else ELSEWHERE
    return f"{random.choice(networks)}.{random.randrange(256)}.{random.randrange(1, 255)}"
