"""Quotas: what a sender may send, as a bucket of tokens that fills at a rate."""

import math
import time
from functools import lru_cache
from ipaddress import ip_address, ip_network

from streaming.runtime.collector.problems import retry_later

MAX_ADDRESSES = 100_000


class Quota:
    """A bucket that fills by `rate` tokens a second, `burst` of them at most. `what` a token is, for a person."""

    def __init__(self, rate: float, burst: float, what: str) -> None:
        self._rate = rate
        self._burst = burst
        self._what = what
        self._tokens = burst
        self._filled_at = time.monotonic()

    def take(self, tokens: int) -> None:
        """Take tokens.

        Raises:
            Refusal: there are not enough; Retry-After says when there will be.
        """
        now = time.monotonic()
        self._tokens = min(self._burst, self._tokens + (now - self._filled_at) * self._rate)
        self._filled_at = now
        if tokens > self._tokens:
            seconds = math.ceil((tokens - self._tokens) / self._rate)
            raise retry_later("quota-exceeded", f"at most {self._rate:g} {self._what}", seconds)
        self._tokens -= tokens


class AddressQuotas:
    """A quota of requests for each client address, of IPv6 for each /64: nobody is given less. A rate of 0 is none."""

    def __init__(self, requests_per_second: float) -> None:
        self._rate = requests_per_second
        self._quota = lru_cache(MAX_ADDRESSES)(self._full)

    def admit(self, address: str) -> None:
        """Count a request of an address.

        Raises:
            Refusal: it has sent too many.
        """
        if self._rate:
            self._quota(_network(address)).take(1)

    def _full(self, _network: str) -> Quota:
        return Quota(self._rate, max(self._rate, 1), "requests per second of one address")


def _network(address: str) -> str:
    return str(ip_network((address, 64), strict=False)) if ip_address(address).version == 6 else address
