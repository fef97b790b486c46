"""The geo provider that the settings ask for."""

from streaming.edges.geo import GeoProvider
from streaming.edges.geo_ipinfo import IpinfoGeo
from streaming.edges.geo_mmdb import MmdbGeo, UnusableDatabaseError
from streaming.settings import SettingError, Settings


def open_geo(settings: Settings) -> GeoProvider:
    """ipinfo.io when there is a token, else the mmdb file.

    Raises:
        SettingError: neither is set, or the file is not there or no mmdb.
    """
    if settings.ipinfo_token:
        return IpinfoGeo(settings.ipinfo_token, settings.lookup_deadline_seconds)
    if settings.geoip_database:
        try:
            return MmdbGeo(settings.geoip_database)
        except UnusableDatabaseError as error:
            raise SettingError(f"GEOIP_DATABASE cannot be used: {error}") from error
    raise SettingError("set GEOIP_DATABASE to a city-level mmdb file, or IPINFO_TOKEN; ./run up sets the first")
