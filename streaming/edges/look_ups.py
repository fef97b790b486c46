"""Who and where, for a batch of events: the cache first, then the geo provider; neither being down costs an event."""

import logging
import random
import time
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor, wait
from enum import StrEnum
from typing import NamedTuple, Protocol

import redis

from streaming.domain.enrichment import CODE_VERSION, Place
from streaming.edges.breaker import CircuitBreaker
from streaming.edges.geo.places import GeoProvider, MissingPlace
from streaming.edges.geo.provider import open_geo
from streaming.edges.user_cache import Cached, CachedPlace, UserCache
from streaming.settings import Settings

__all__ = ["Finder", "Found", "LookUps", "MissingName"]

_log = logging.getLogger(__name__)

_REMEMBER_SECONDS = 30.0
_REMEMBERED = 100_000
_SOCKET_SECONDS = 5.0  # nobody waits so long; it ends the thread that does
_FRESH_SECONDS = 86_400
_NOT_FOUND_SECONDS = 600
_KEEP_STALE = 7  # times as long as fresh, for when the provider is down
_NOTHING_CACHED = Cached({}, {}, None)


class MissingName(StrEnum):
    """Why a user has no name, as it stands in `missing_reasons`."""

    UNKNOWN_USER = "name:unknown_user"
    LOOKUP_FAILED = "name:lookup_failed"


class Found(NamedTuple):
    """Names and places of a batch: a value, or why there is none, for everything that was asked for.

    `version` names the code, the geo build and the customers' snapshot they come from.
    """

    names: dict[str, str | MissingName]
    places: dict[str, Place | MissingPlace]
    version: str


class Finder(Protocol):
    """Finds names and places for a batch: `LookUps` for events as they come, a fixed snapshot for a rebuild."""

    def find(self, user_ids: Collection[str], ips: Collection[str]) -> Found: ...


class LookUps:
    """Looks names and places up in at most one round trip to the cache a batch, and remembers them for half a minute.

    A batch waits for all of it together no longer than `deadline_seconds`, for the cache no longer than half of that. A
    cache that fails is left alone for a few seconds, and what is remembered serves on until it answers again. A changed
    name is seen within half a minute, a new one at once.
    """

    def __init__(
        self,
        cache: UserCache,
        geo: GeoProvider,
        clock: Callable[[], float] = time.monotonic,
        deadline_seconds: float = 0.5,
    ) -> None:
        self._cache = cache
        self._geo = geo
        self._clock = clock
        self._deadline_seconds = deadline_seconds
        self._breaker = CircuitBreaker(threshold=1, cool_down_seconds=5, clock=clock)
        # A socket's timeout bounds a single read only, so the cache is asked aside and waited for.
        self._aside = ThreadPoolExecutor(max_workers=4, thread_name_prefix="cache")
        self._names: dict[str, str | MissingName] = {}
        self._places: dict[str, Place | MissingPlace] = {}
        self._watermark: str | None = None
        self._forget_at = 0.0

    @classmethod
    def from_settings(cls, settings: Settings) -> "LookUps":
        cache = UserCache(settings.cache_redis_url, _SOCKET_SECONDS)
        return cls(cache, open_geo(settings), deadline_seconds=settings.lookup_deadline_seconds)

    def find(self, user_ids: Collection[str], ips: Collection[str]) -> Found:
        """Names and places of the distinct users and addresses of a batch."""
        return self._find(user_ids, ips, time.monotonic() + self._deadline_seconds)

    def _find(self, user_ids: Collection[str], ips: Collection[str], until: float) -> Found:
        fresh = self._clock() < self._forget_at or self._breaker.is_open
        names, places = self._remembered(user_ids, ips) if fresh else ({}, {})
        new_users = [user_id for user_id in user_ids if user_id not in names]
        new_ips = [ip for ip in ips if ip not in places]
        if new_users or new_ips:
            cached = self._read_cache(new_users, new_ips, until)
            if cached and not fresh:
                self._forget()
                self._watermark = None
            if cached and cached.watermark and cached.watermark != self._watermark:
                self._watermark = cached.watermark
                self._names.clear()
                if names:  # they follow an older snapshot
                    return self._find(user_ids, ips, until)
            if cached is None:
                names, places = self._remembered(user_ids, ips)
            missing = MissingName.UNKNOWN_USER if cached and cached.watermark else MissingName.LOOKUP_FAILED
            known = cached or _NOTHING_CACHED
            names |= {user_id: known.names.get(user_id, missing) for user_id in user_ids if user_id not in names}
            places |= self._locate([ip for ip in ips if ip not in places], known.places, until)
            self._remember(names, places)
        return Found(names, places, f"{CODE_VERSION}/{self._geo.build}/{self._watermark or 'no-users'}")

    def _remembered(
        self, user_ids: Collection[str], ips: Collection[str]
    ) -> tuple[dict[str, str | MissingName], dict[str, Place | MissingPlace]]:
        return (
            {user_id: name for user_id in user_ids if (name := self._names.get(user_id))},
            {ip: place for ip in ips if (place := self._places.get(ip))},
        )

    def _remember(self, names: dict[str, str | MissingName], places: dict[str, Place | MissingPlace]) -> None:
        if len(self._names) + len(self._places) > _REMEMBERED:
            self._forget()
        # Who is unknown may sign up at any moment.
        self._names |= {user_id: name for user_id, name in names.items() if not isinstance(name, MissingName)}
        self._places |= {ip: place for ip, place in places.items() if place is not MissingPlace.LOOKUP_FAILED}

    def _forget(self) -> None:
        self._names.clear()
        self._places.clear()
        self._forget_at = self._clock() + _REMEMBER_SECONDS

    def _locate(
        self, ips: Collection[str], cached: dict[str, CachedPlace], until: float
    ) -> dict[str, Place | MissingPlace]:
        now, build = time.time(), self._geo.build
        places = {ip: _place(entry) for ip, entry in cached.items() if entry.build == build and entry.fresh_until > now}
        wanted = [ip for ip in ips if ip not in places]
        if wanted:
            found = self._geo.places(wanted, _seconds_left(until))
            self._write_cache(_entries(found, build, now), until)
            places |= {
                ip: _place(cached[ip]) if place is MissingPlace.LOOKUP_FAILED and ip in cached else place
                for ip, place in found.items()
            }
        return places

    def _read_cache(self, user_ids: Collection[str], ips: Collection[str], until: float) -> Cached | None:
        """What the cache holds; None when it does not answer while there is time for the geo provider."""
        if self._breaker.is_open:
            return None
        try:
            asked = self._aside.submit(self._cache.look_up, user_ids, ips)
            return asked.result(_seconds_left(until - self._deadline_seconds / 2))
        except (redis.RedisError, ValueError, TimeoutError) as error:  # ValueError: somebody wrote what is no text
            _log.warning("cache: %s", error or "no answer within the deadline")
            self._breaker.failed()
            return None

    def _write_cache(self, places: Collection[tuple[str, CachedPlace, int]], until: float) -> None:
        if places and not self._breaker.is_open:
            wait([self._aside.submit(self._put_places, places)], _seconds_left(until))

    def _put_places(self, places: Collection[tuple[str, CachedPlace, int]]) -> None:
        try:
            self._cache.put_places(places)
        except redis.ResponseError as error:  # such as out of memory: reading goes on
            _log.warning("cache: %s", error)
        except redis.RedisError as error:
            _log.warning("cache: %s", error)
            self._breaker.failed()


def _seconds_left(until: float) -> float:
    return max(until - time.monotonic(), 0)


def _place(entry: CachedPlace) -> Place | MissingPlace:
    if entry.reason:
        return MissingPlace.NOT_FOUND
    return Place(entry.country, entry.region, entry.city, entry.latitude, entry.longitude)


def _entries(found: dict[str, Place | MissingPlace], build: str, now: float) -> list[tuple[str, CachedPlace, int]]:
    return [entry for ip, place in found.items() if (entry := _entry(ip, place, build, now))]


def _entry(ip: str, place: Place | MissingPlace, build: str, now: float) -> tuple[str, CachedPlace, int] | None:
    """What to cache of a place, and for how many seconds. Lifetimes vary, so that they do not all end at once."""
    if isinstance(place, Place):
        fresh = int(_FRESH_SECONDS * random.uniform(0.8, 1.2))  # noqa: S311
        known = CachedPlace(
            build, now + fresh, place.country, place.region, place.city, place.latitude, place.longitude
        )
        return ip, known, fresh * _KEEP_STALE
    if place is MissingPlace.NOT_FOUND:
        return ip, CachedPlace(build, now + _NOT_FOUND_SECONDS, reason=place), _NOT_FOUND_SECONDS
    return None
