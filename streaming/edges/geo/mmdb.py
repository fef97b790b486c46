"""Places from city-level mmdb files, read by the C reader."""

import logging
from collections.abc import Collection, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import maxminddb
from maxminddb.const import MODE_MMAP_EXT

from streaming.domain.enrichment import Place
from streaming.edges.geo.places import MissingPlace, unusable_address

__all__ = ["MmdbGeo", "UnusableDatabaseError"]

_log = logging.getLogger(__name__)


class UnusableDatabaseError(Exception):
    """There is no mmdb file at the path, or it is damaged."""


class MmdbGeo:
    """Reads one mmdb file, or a folder of them such as one for IPv4 and one for IPv6.

    Two layouts are understood: MaxMind's nested one, and the flat one of the ip-location-db packages.

    Raises:
        UnusableDatabaseError: there is no mmdb file at the path, or it cannot be read.
    """

    repeatable = True

    def __init__(self, path: Path, cached_places: int = 65_536) -> None:
        files = sorted(path.glob("*.mmdb")) if path.is_dir() else [path]
        if not files:
            raise UnusableDatabaseError(f"no mmdb file in {path}")
        try:
            readers = [maxminddb.open_database(file, MODE_MMAP_EXT) for file in files]
        except (OSError, maxminddb.InvalidDatabaseError) as error:
            raise UnusableDatabaseError(str(error)) from error
        self.build = "+".join(_build(reader) for reader in readers)
        self._by_version = {reader.metadata().ip_version: reader for reader in readers}
        self._place = lru_cache(maxsize=cached_places)(self._read)

    def places(self, ips: Collection[str], within_seconds: float | None = None) -> dict[str, Place | MissingPlace]:
        return {ip: self._place(ip) for ip in ips}

    def _read(self, ip: str) -> Place | MissingPlace:
        if reason := unusable_address(ip):
            return reason
        # A file of IPv6 holds the IPv4 addresses too, unless IPv4 has a file of its own.
        reader = self._by_version.get(6 if ":" in ip else 4) or self._by_version.get(6)
        try:
            found = reader.get(ip) if reader else None
            return _place(cast(Mapping[str, Any], found)) if found else MissingPlace.NOT_FOUND
        except (maxminddb.InvalidDatabaseError, AttributeError, TypeError) as error:  # damaged, or another layout
            _log.error("geo database: %s", error)
            return MissingPlace.LOOKUP_FAILED


def _build(reader: maxminddb.Reader) -> str:
    metadata = reader.metadata()
    return f"{metadata.database_type}@{metadata.build_epoch}".replace(" ", "-")


def _place(found: Mapping[str, Any]) -> Place | MissingPlace:
    place = _flat_place(found) if "country_code" in found else _nested_place(found)
    return place if place != Place() else MissingPlace.NOT_FOUND


def _flat_place(found: Mapping[str, Any]) -> Place:
    return Place(
        found["country_code"] or None,
        found.get("state1") or None,
        found.get("city") or None,
        _degrees(found.get("latitude")),
        _degrees(found.get("longitude")),
    )


def _nested_place(found: Mapping[str, Any]) -> Place:
    regions = found.get("subdivisions") or [{}]
    location = found.get("location") or {}
    return Place(
        (found.get("country") or {}).get("iso_code"),
        _english(regions[0]),
        _english(found.get("city") or {}),
        _degrees(location.get("latitude")),
        _degrees(location.get("longitude")),
    )


def _english(named: Mapping[str, Any]) -> str | None:
    name: str | None = (named.get("names") or {}).get("en")
    return name or None


def _degrees(value: float | None) -> float | None:
    """To four decimals, about eleven metres: files that store single precision show no false digits."""
    return None if value is None else round(value, 4)
