"""Lambda `last_access`: keeps when and where each user was seen last, in the cache.

Order and repetition of batches make no difference. When the cache fails the batch fails, and is tried again.
"""

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

from streaming.domain.enrichment import Place
from streaming.edges.geo.provider import open_geo
from streaming.edges.look_ups import LookUps
from streaming.edges.user_cache import LastAccess, UserCache
from streaming.handlers.records import KinesisEvent, good_events
from streaming.settings import load_settings

__all__ = ["accesses", "lambda_handler"]


def lambda_handler(event: Mapping[str, Any], context: object) -> dict[str, list[Any]]:
    """Take a Kinesis batch; raises `redis.RedisError` when the cache cannot be written."""
    cache, look_ups = _edges()
    if seen := accesses(good_events(event), look_ups):
        cache.put_last_access(seen)
    return {"batchItemFailures": []}


def accesses(events: Iterable[KinesisEvent], look_ups: LookUps) -> list[LastAccess]:
    """Who was seen when and where. A clock that runs ahead is held back to the arrival, or it would stick."""
    batch = list(events)
    places = look_ups.find((), {e.event.user_ip for e in batch if e.event.user_ip}).places
    return [
        LastAccess(
            e.event.user_id,
            min(e.event.timestamp, e.arrival),
            e.record_id,
            _location(places.get(e.event.user_ip) if e.event.user_ip else None),
        )
        for e in batch
    ]


def _location(place: object) -> str:
    """'City, Region, Country'; parts that are not known are left out."""
    if not isinstance(place, Place):
        return ""
    return ", ".join(part for part in (place.city, place.region, place.country) if part)


@cache
def _edges() -> tuple[UserCache, LookUps]:
    settings = load_settings()
    user_cache = UserCache(settings.cache_redis_url, settings.lookup_deadline_seconds)
    return user_cache, LookUps(user_cache, open_geo(settings), deadline_seconds=settings.lookup_deadline_seconds)
