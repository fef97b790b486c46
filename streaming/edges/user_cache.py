"""The cache of users and places on Redis: `user:<id>` hashes {name, last_access, location} and `geo:<ip>` strings.

Every call is one round trip for a whole batch: one Lua script that takes and gives one MessagePack value, which costs
a client a thirtieth of a pipelined HGET per user. The scripts name their keys themselves: the cache is one node, not a
cluster.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import datetime
from itertools import islice
from typing import NamedTuple, cast

import msgspec
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from streaming.domain.timestamps import format_timestamp, parse_timestamp
from streaming.edges.redis_client import redis_client

__all__ = ["Cached", "CachedPlace", "LastAccess", "UserCache"]

# A key of another type, which somebody else wrote, is as good as none: it must not cost the others theirs.
_LOOK_UP = """
local wanted = cmsgpack.unpack(ARGV[1])
local names, places = {}, {}
local function text(reply) return type(reply) == 'string' and reply end
for i, user_id in ipairs(wanted[1]) do names[i] = text(redis.pcall('HGET', 'user:' .. user_id, 'name')) end
for i, ip in ipairs(wanted[2]) do places[i] = text(redis.pcall('GET', 'geo:' .. ip)) end
return cmsgpack.pack({names, places, redis.call('GET', KEYS[1])})
"""
_PUT_NAMES = """
local removed = 0
for _, user in ipairs(cmsgpack.unpack(ARGV[1])) do
    if user[2] then redis.call('HSET', 'user:' .. user[1], 'name', user[2])
    else removed = removed + redis.call('HDEL', 'user:' .. user[1], 'name') end
end
return removed
"""
_ADVANCE_WATERMARK = """
if ARGV[1] > (redis.call('GET', KEYS[1]) or '') then redis.call('SET', KEYS[1], ARGV[1]) end
"""
_PUT_PLACES = """
for _, place in ipairs(cmsgpack.unpack(ARGV[1])) do
    redis.call('SET', 'geo:' .. place[1], place[2], 'EX', place[3])
end
"""
# The same event once more may bring the location that was not known the first time; nothing else changes on a tie.
_PUT_LAST_ACCESS = """
local moved = 0
for _, access in ipairs(cmsgpack.unpack(ARGV[1])) do
    local key, moment, record_id, location = 'user:' .. access[1], access[2], access[3], access[4]
    local stored = redis.call('HMGET', key, 'last_access', 'last_record_id')
    local last, last_record_id = stored[1] or '', stored[2] or ''
    local newer = moment > last or (moment == last and record_id > last_record_id)
    if newer then
        redis.call('HSET', key, 'last_access', moment, 'last_record_id', record_id, 'location', location)
        moved = moved + 1
    elseif moment == last and record_id == last_record_id and location ~= '' then
        redis.call('HSET', key, 'location', location)
    end
end
return moved
"""
_LAST_ACCESSES = """
local found = {}
for i, user_id in ipairs(cmsgpack.unpack(ARGV[1])) do
    local seen = redis.pcall('HMGET', 'user:' .. user_id, 'last_access', 'location')
    found[i] = seen[1] and {seen[1], seen[2] or ''} or false
end
return cmsgpack.pack(found)
"""
# When last access was found lost, or that it is complete. A cache that was wiped has neither.
_LAST_ACCESS_LOST = """
redis.call('SET', KEYS[1], ARGV[1], 'NX')
return redis.call('GET', KEYS[1])
"""
_LAST_ACCESS_COMPLETE = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2])
return 1
"""
_WATERMARK = "users:watermark"
_LAST_ACCESS_STATE = "users:last_access"
_COMPLETE = "complete"

_encode = msgspec.msgpack.Encoder().encode
_decode_answer = msgspec.msgpack.Decoder(tuple[list[str | bool], list[str | bool], str | bool]).decode
_decode_seen = msgspec.msgpack.Decoder(list[tuple[str, str] | bool]).decode


class CachedPlace(msgspec.Struct, omit_defaults=True):
    """What `geo:<ip>` holds, as JSON. `reason` says why there is no place.

    Valid for the geo data `build` until `fresh_until` (Unix seconds); kept longer, for when the provider is down.
    """

    build: str
    fresh_until: float
    country: str | None = None
    region: str | None = None
    city: str | None = None
    latitude: float | None = None
    longitude: float | None = None
    reason: str | None = None


_encode_place = msgspec.json.Encoder().encode
_decode_place = msgspec.json.Decoder(CachedPlace).decode


class Cached(NamedTuple):
    """What the cache knows of a batch; who and what is missing was not there.

    `watermark` is the newest change of customers that the names follow, None before the first refresh.
    """

    names: dict[str, str]
    places: dict[str, CachedPlace]
    watermark: str | None


class LastAccess(NamedTuple):
    """A user was seen: event time (UTC), the record that says so, and 'City, Region, Country', '' where unknown."""

    user_id: str
    moment: datetime
    record_id: str
    location: str


class UserCache:
    """Reads and writes the cache; any call raises `redis.RedisError` when Redis cannot do it in `timeout_seconds`."""

    def __init__(self, url: str, timeout_seconds: float = 0.5) -> None:
        self._redis = redis_client(
            url,
            socket_timeout=timeout_seconds,
            socket_connect_timeout=timeout_seconds,
            # A connection that the server closed is opened once more; a server that is silent is not asked twice.
            retry=Retry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,)),
        )
        self._look_up = self._redis.register_script(_LOOK_UP)
        self._put_names = self._redis.register_script(_PUT_NAMES)
        self._advance_watermark = self._redis.register_script(_ADVANCE_WATERMARK)
        self._put_places = self._redis.register_script(_PUT_PLACES)
        self._last_accesses = self._redis.register_script(_LAST_ACCESSES)
        self._put_last_access = self._redis.register_script(_PUT_LAST_ACCESS)
        self._last_access_lost = self._redis.register_script(_LAST_ACCESS_LOST)
        self._last_access_complete = self._redis.register_script(_LAST_ACCESS_COMPLETE)

    def look_up(self, user_ids: Collection[str], ips: Collection[str]) -> Cached:
        """Names of users and places of addresses, with the watermark, in one round trip."""
        names, places, watermark = _decode_answer(
            self._look_up(keys=[_WATERMARK], args=[_encode((list(user_ids), list(ips)))])
        )
        return Cached(
            {user_id: name for user_id, name in zip(user_ids, names, strict=True) if isinstance(name, str)},
            {
                ip: place
                for ip, text in zip(ips, places, strict=True)
                if not isinstance(text, bool) and (place := _readable(text))
            },
            watermark if isinstance(watermark, str) else None,
        )

    def users(self, page_size: int = 5_000) -> Iterator[list[str]]:
        """The ids of all users the cache holds anything of, in pages; one may come more than once."""
        keys = self._redis.scan_iter("user:*", count=page_size)
        while page := [key.decode().removeprefix("user:") for key in islice(keys, page_size)]:
            yield page

    def put_names(self, names: Mapping[str, str | None]) -> int:
        """Set the names of users; None removes a name. Returns how many were removed."""
        return int(self._put_names(args=[_encode([(user_id, name or False) for user_id, name in names.items()])]))

    def put_places(self, places: Iterable[tuple[str, CachedPlace, int]]) -> None:
        """Set places: the address, what is known of it, and after how many seconds to forget it."""
        self._put_places(args=[_encode([(ip, _encode_place(place).decode(), keep) for ip, place, keep in places])])

    def put_last_access(self, accesses: Iterable[LastAccess]) -> int:
        """Move users' last access and location forward, never back; returns how many moved.

        Order and repetition make no difference: later event time wins, then the higher record_id.
        """
        latest: dict[str, LastAccess] = {}
        for access in accesses:
            known = latest.get(access.user_id)
            if known is None or access[1:] > known[1:]:
                latest[access.user_id] = access
        return int(
            self._put_last_access(
                args=[
                    _encode([(a.user_id, format_timestamp(a.moment), a.record_id, a.location) for a in latest.values()])
                ]
            )
        )

    def last_accesses(self, user_ids: Collection[str]) -> dict[str, tuple[datetime, str]]:
        """When (UTC) and where each of the users was seen last, of those that ever were, in one round trip."""
        found = _decode_seen(self._last_accesses(args=[_encode(list(user_ids))]))
        return {
            user_id: (moment, seen[1])
            for user_id, seen in zip(user_ids, found, strict=True)
            if not isinstance(seen, bool) and (moment := _moment(seen[0]))
        }

    def last_access_lost_at(self, now: datetime) -> datetime | None:
        """When it was first noticed that the cache had been wiped; None where last access is complete."""
        state = self._last_access_lost(keys=[_LAST_ACCESS_STATE], args=[format_timestamp(now)]).decode()
        return None if state == _COMPLETE else parse_timestamp(state)

    def mark_last_access_complete(self, lost_at: datetime) -> bool:
        """Last access is complete again; False where the cache was wiped once more since `lost_at` was noticed."""
        marked = self._last_access_complete(keys=[_LAST_ACCESS_STATE], args=[format_timestamp(lost_at), _COMPLETE])
        return bool(marked)

    def watermark(self) -> datetime | None:
        """The newest change of customers that the cached names follow."""
        text = self._redis.get(_WATERMARK)
        return parse_timestamp(cast(bytes, text).decode()) if text else None

    def advance_watermark(self, watermark: datetime) -> None:
        """Move the watermark forward; a refresh that is slower than another does not move it back."""
        self._advance_watermark(keys=[_WATERMARK], args=[format_timestamp(watermark)])


def _readable(text: str) -> CachedPlace | None:
    try:
        return _decode_place(text)
    except msgspec.MsgspecError:
        return None


def _moment(text: str) -> datetime | None:
    try:
        return parse_timestamp(text)
    except ValueError:
        return None
