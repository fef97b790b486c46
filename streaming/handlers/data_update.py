"""Lambda `data_update`: carries customers' names from MySQL to the cache.

On a schedule everything that changed since the watermark, which lives in the cache beside the names: an empty cache
has none, and is filled anew. `{"user_id": "20"}`, as a sign-up sends it, updates that user alone.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from typing import Any

from streaming.domain.timestamps import format_timestamp
from streaming.edges.user_cache import UserCache
from streaming.edges.users_db import UsersDb
from streaming.settings import load_settings

__all__ = ["lambda_handler", "refresh", "update_user"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def lambda_handler(event: Mapping[str, Any], context: object) -> dict[str, Any]:
    """Refresh by watermark, or the one user that the event names."""
    users_db, user_cache = _edges()
    user_id = event.get("user_id")
    return refresh(users_db, user_cache) if user_id is None else update_user(str(user_id), users_db, user_cache)


def refresh(users_db: UsersDb, user_cache: UserCache) -> dict[str, Any]:
    """Copy the names of customers that changed; returns how many were written, and the new watermark.

    The watermark moves once all is written: a refresh that breaks off is done again.
    """
    watermark = user_cache.watermark()
    newest, updated = watermark or _EPOCH, 0
    for page in users_db.changed_since(watermark):
        user_cache.put_names({str(customer.customer_id): customer.name for customer in page})
        newest, updated = max(newest, page[-1].updated_at), updated + len(page)
    newest = min(newest, datetime.now(UTC))  # a row dated ahead would hide the changes until then
    user_cache.advance_watermark(newest)
    return {"updated": updated, "watermark": format_timestamp(newest)}


def update_user(user_id: str, users_db: UsersDb, user_cache: UserCache) -> dict[str, Any]:
    """Copy one user's name; a user who is no customer loses it."""
    names = users_db.names([user_id])
    user_cache.put_names({user_id: names.get(user_id)})
    return {"updated": len(names)}


@cache
def _edges() -> tuple[UsersDb, UserCache]:
    settings = load_settings()
    return UsersDb(settings.mysql_url), UserCache(settings.cache_redis_url, 5)
