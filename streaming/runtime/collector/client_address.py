"""Who is really calling: the connection's address, or what a trusted proxy says it is."""

from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from streaming.settings import SettingError

Address = IPv4Address | IPv6Address


class ClientAddress:
    """Finds the client's address. `trusted_proxies` are addresses or networks whose X-Forwarded-For is believed.

    Raises:
        SettingError: one of them is neither.
    """

    def __init__(self, trusted_proxies: Sequence[str]) -> None:
        try:
            self._trusted = [ip_network(proxy) for proxy in trusted_proxies]
        except ValueError as error:
            raise SettingError(f"CLICKSTREAM_TRUSTED_PROXIES: {error}") from None

    def of(self, peer: str, forwarded_for: Sequence[str]) -> str:
        """The right-most address that is no trusted proxy, starting at the connection's own.

        Args:
            peer: address of the connection.
            forwarded_for: every X-Forwarded-For header, in order.
        """
        address = _plain(peer)
        hops = [hop.strip() for header in forwarded_for for hop in header.split(",")] if self._trusted else []
        while hops and self._is_trusted(address):
            try:
                address = _plain(hops.pop())
            except ValueError:
                break
        return str(address)

    def _is_trusted(self, address: Address) -> bool:
        return any(address in network for network in self._trusted)


@lru_cache(maxsize=10_000)
def _plain(text: str) -> Address:
    """The address without its zone; one of IPv4 mapped into IPv6 as IPv4."""
    address = ip_address(text.partition("%")[0])
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
