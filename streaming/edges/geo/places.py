"""Where an IP address is: the protocol of geo providers, and what they share."""

from collections.abc import Collection
from enum import StrEnum
from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from typing import Protocol

from streaming.domain.enrichment import Place

__all__ = ["GeoProvider", "MissingPlace", "unusable_address"]


class MissingPlace(StrEnum):
    """Why an address has no place, as it stands in `missing_reasons`."""

    NO_ADDRESS = "place:no_address"
    INVALID_ADDRESS = "place:invalid_address"
    PRIVATE_ADDRESS = "place:private_address"
    NOT_FOUND = "place:not_found"
    LOOKUP_FAILED = "place:lookup_failed"


class GeoProvider(Protocol):
    """Finds places. `build` names the version of the geo data.

    `repeatable`: the same build gives the same places, whenever they are asked for.
    """

    repeatable: bool

    @property
    def build(self) -> str: ...

    def places(self, ips: Collection[str], within_seconds: float | None = None) -> dict[str, Place | MissingPlace]:
        """A place or the reason there is none, for every address asked for. Never raises for an address.

        Args:
            within_seconds: what the caller can wait; None: what the provider is set up with.
        """


@lru_cache(maxsize=65_536)
def unusable_address(ip: str) -> MissingPlace | None:
    """Why an address cannot be looked up; None for a global unicast address, the only kind that may leave the house."""
    try:
        address = ip_address(ip)
    except ValueError:
        return MissingPlace.INVALID_ADDRESS
    if isinstance(address, IPv6Address):
        if address.scope_id:
            return MissingPlace.INVALID_ADDRESS
        address = address.ipv4_mapped or address
    return None if address.is_global and not address.is_multicast else MissingPlace.PRIVATE_ADDRESS
