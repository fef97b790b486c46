"""Places from the batch endpoint of ipinfo.io, inside a deadline."""

import json
import logging
import time
from collections.abc import Collection, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import msgspec
import urllib3

from streaming.domain.enrichment import Place
from streaming.edges.breaker import CircuitBreaker
from streaming.edges.geo.places import MissingPlace, unusable_address
from streaming.edges.secrets import resolve

__all__ = ["IpinfoGeo"]

_log = logging.getLogger(__name__)

_HOST = "https://ipinfo.io"
_ADDRESSES_PER_REQUEST = 1000
_MAX_ANSWER_BYTES = 2_000_000
_READ_BYTES = 65_536
_MAX_RETRY_AFTER_SECONDS = 3600.0


class IpinfoGeo:
    """Asks ipinfo.io for the places of many addresses at once; only global addresses leave the house.

    Args:
        token: the account's token, or a reference to the secret that holds it.
        deadline_seconds: what one call of `places` may take in all; what is not known by then is `LOOKUP_FAILED`.
        base_url: another way to the same API. Where requests go is decided by nothing else.
    """

    repeatable = False

    def __init__(self, token: str, deadline_seconds: float = 0.5, base_url: str = _HOST) -> None:
        self._deadline_seconds = deadline_seconds
        self._url = f"{base_url}/batch"
        self._token = token
        self._http = urllib3.PoolManager(timeout=deadline_seconds, retries=False, maxsize=4)
        # Deadlines of the sockets bound a single read only, so requests run aside and are waited for.
        self._requests = ThreadPoolExecutor(max_workers=4, thread_name_prefix="ipinfo")
        self._breaker = CircuitBreaker(threshold=3, cool_down_seconds=30)

    @property
    def build(self) -> str:
        """ipinfo names no version of its data; places are as of the day they were asked for."""
        return "ipinfo@live"

    def places(self, ips: Collection[str], within_seconds: float | None = None) -> dict[str, Place | MissingPlace]:
        deadline_seconds = self._deadline_seconds if within_seconds is None else within_seconds
        places: dict[str, Place | MissingPlace] = {ip: unusable_address(ip) or MissingPlace.LOOKUP_FAILED for ip in ips}
        wanted = [ip for ip, place in places.items() if place is MissingPlace.LOOKUP_FAILED]
        if not wanted or self._breaker.is_open:
            return places
        starts = range(0, len(wanted), _ADDRESSES_PER_REQUEST)
        until = time.monotonic() + deadline_seconds
        requests = [
            self._requests.submit(self._request, wanted[at : at + _ADDRESSES_PER_REQUEST], until) for at in starts
        ]
        answered, late = wait(requests, timeout=deadline_seconds)
        for request in answered:
            places.update(self._outcome(request))
        for request in late:
            request.cancel()
            self._failed("no answer within the deadline")
        return places

    def _request(self, ips: list[str], until: float) -> dict[str, Place | MissingPlace]:
        headers = {"Authorization": f"Bearer {resolve(self._token)}", "Content-Type": "application/json"}
        response = self._http.request(
            "POST", self._url, body=json.dumps(ips), headers=headers, preload_content=False, redirect=False
        )
        try:
            if response.status in (401, 403):
                resolve(self._token, anew=True)  # for the next request
            if response.status == 429:
                self._breaker.open_for(_retry_after(response.headers.get("Retry-After")))
            if response.status != 200:
                raise ValueError(f"status {response.status}")
            body = _read(response, until)
        finally:
            response.close()
        answer = msgspec.json.decode(body)  # strict: what gets through can be written as JSON again
        if not isinstance(answer, dict):
            raise ValueError("an answer that is not an object")
        return {ip: _place(answer.get(ip)) for ip in ips}

    def _outcome(self, request: Future[dict[str, Place | MissingPlace]]) -> dict[str, Place | MissingPlace]:
        try:
            places = request.result()
        except (urllib3.exceptions.HTTPError, ValueError, RecursionError) as error:
            self._failed(str(error))
            return {}
        self._breaker.succeeded()
        return places

    def _failed(self, reason: str) -> None:
        _log.warning("ipinfo.io: %s", reason)
        self._breaker.failed()


def _read(response: urllib3.BaseHTTPResponse, until: float) -> bytes:
    """The answer's body, as far as it comes in time: one that trickles must not hold its thread for ever."""
    body = b""
    while time.monotonic() < until and (part := response.read1(_READ_BYTES)):
        body += part
        if len(body) > _MAX_ANSWER_BYTES:
            raise ValueError(f"an answer of more than {_MAX_ANSWER_BYTES:,} bytes")
    return body


def _place(details: Any) -> Place | MissingPlace:
    if not isinstance(details, Mapping):
        return MissingPlace.LOOKUP_FAILED
    country, region, city = (_text(details.get(key)) for key in ("country", "region", "city"))
    latitude, longitude = _coordinates(details.get("loc"))
    place = Place(country, region, city, latitude, longitude)
    return place if place != Place() else MissingPlace.NOT_FOUND


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _coordinates(loc: Any) -> tuple[float | None, float | None]:
    """`loc` is 'latitude,longitude'."""
    try:
        latitude, longitude = map(float, loc.split(","))
    except (AttributeError, ValueError):
        return None, None
    inside = -90 <= latitude <= 90 and -180 <= longitude <= 180
    return (latitude, longitude) if inside else (None, None)


def _retry_after(value: str | None) -> float:
    """Seconds to wait by a Retry-After header: a number of seconds, or a date; a minute when it says neither."""
    try:
        seconds = float(value or 60)
    except ValueError:
        try:
            seconds = (parsedate_to_datetime(value or "") - datetime.now(UTC)).total_seconds()
        except (TypeError, ValueError):
            seconds = 60
    return min(max(seconds, 0), _MAX_RETRY_AFTER_SECONDS)
