"""Lambda `data_update`: carries customers' names from MySQL to the cache.

On a schedule everything that changed since the watermark, which lives in the cache beside the names: an empty cache
has none, and is filled anew. `{"full": true}` compares everyone: once a day it finds what no watermark tells, customers
who were deleted and changes committed by a transaction of more than a quarter of an hour. `{"user_id": "20"}`, as a
sign-up sends it, updates that user alone.
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
    """Refresh by watermark or in full, or the one user that the event names."""
    users_db, user_cache = _edges()
    user_id = event.get("user_id")
    if user_id is not None:
        return update_user(str(user_id), users_db, user_cache)
    return refresh(users_db, user_cache, full=bool(event.get("full")))


def refresh(users_db: UsersDb, user_cache: UserCache, *, full: bool = False) -> dict[str, Any]:
    """Copy the names of customers that changed; returns how many were written, and the new watermark.

    The watermark moves once all is written: a refresh that breaks off is done again. `full`: everyone's names, and
    strangers lose theirs.
    """
    watermark = user_cache.watermark()
    newest, updated = watermark or _EPOCH, 0
    for page in users_db.changed_since(None if full else watermark):
        user_cache.put_names({str(customer.customer_id): customer.name for customer in page})
        newest, updated = max(newest, page[-1].updated_at), updated + len(page)
    newest = min(newest, datetime.now(UTC))  # a row dated ahead would hide the changes until then
    user_cache.advance_watermark(newest)
    told = {"updated": updated, "watermark": format_timestamp(newest)}
    return told | {"removed": _remove_strangers(users_db, user_cache)} if full else told


def _remove_strangers(users_db: UsersDb, user_cache: UserCache) -> int:
    """Take the names away from users who are no customers; returns from how many."""
    removed = 0
    for user_ids in user_cache.users():
        known = users_db.names(user_ids)
        removed += user_cache.put_names({user_id: None for user_id in user_ids if user_id not in known})
    return removed


def update_user(user_id: str, users_db: UsersDb, user_cache: UserCache) -> dict[str, Any]:
    """Copy one user's name; a user who is no customer loses it."""
    names = users_db.names([user_id])
    user_cache.put_names({user_id: names.get(user_id)})
    return {"updated": len(names)}


@cache
def _edges() -> tuple[UsersDb, UserCache]:
    settings = load_settings()
    return UsersDb(settings.mysql_url), UserCache(settings.cache_redis_url, 5)
