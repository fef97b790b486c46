"""The cache of users and places, as a resource."""

import dagster as dg

from streaming.edges.user_cache import UserCache
from streaming.settings import load_settings

# No client waits for a run.
_PATIENCE_SECONDS = 5.0


class RedisUserCacheResource(dg.ConfigurableResource[UserCache]):
    """Redis at CACHE_REDIS_URL, which may hold a password and so is not configuration."""

    def create_resource(self, context: dg.InitResourceContext) -> UserCache:
        return UserCache(load_settings().cache_redis_url, _PATIENCE_SECONDS)
