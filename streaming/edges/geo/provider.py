"""The geo provider that the settings ask for."""

from collections.abc import Collection

from streaming.domain.enrichment import Place
from streaming.edges.geo.ipinfo import IpinfoGeo
from streaming.edges.geo.mmdb import MmdbGeo, UnusableDatabaseError
from streaming.edges.geo.places import GeoProvider, MissingPlace, unusable_address
from streaming.settings import SettingError, Settings


class NoGeo:
    """Knows no place: events go without, and enriching them anew finds it once there is a provider."""

    build = "no-geo"
    repeatable = True

    def places(self, ips: Collection[str], within_seconds: float | None = None) -> dict[str, Place | MissingPlace]:
        return {ip: unusable_address(ip) or MissingPlace.LOOKUP_FAILED for ip in ips}


def open_geo(settings: Settings) -> GeoProvider:
    """ipinfo.io when there is a token, else the mmdb file, else nothing.

    Raises:
        SettingError: the file is not there or no mmdb.
    """
    if settings.ipinfo_token:
        return IpinfoGeo(settings.ipinfo_token, settings.lookup_deadline_seconds, settings.ipinfo_url)
    if settings.geoip_database:
        try:
            return MmdbGeo(settings.geoip_database)
        except UnusableDatabaseError as error:
            raise SettingError(f"GEOIP_DATABASE cannot be used: {error}") from error
    return NoGeo()
