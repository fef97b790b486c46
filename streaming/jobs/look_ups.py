"""Names and places for events that are enriched anew: as they stand at a moment, or as they were recorded."""

from collections.abc import Collection, Mapping

import pyarrow as pa
import pyarrow.compute as pc

from streaming.domain.enrichment import NOWHERE, Place
from streaming.edges.geo.places import GeoProvider, MissingPlace
from streaming.edges.look_ups import Finder, Found, MissingName

# No client waits for what is enriched anew.
PATIENCE_SECONDS = 30.0


class FixedLookUps:
    """Names that are given, by user; places straight from the geo provider. `version` says which these are."""

    def __init__(self, names: Mapping[str, str], geo: GeoProvider, version: str) -> None:
        self.names = names
        self.version = version
        self._geo = geo

    def find(self, user_ids: Collection[str], ips: Collection[str]) -> Found:
        """Names and places of a batch."""
        names = {user_id: self.names.get(user_id, MissingName.UNKNOWN_USER) for user_id in user_ids}
        return Found(names, self._geo.places(ips), self.version)


class RecordedLookUps:
    """Places as they are recorded for an hour; only what is not recorded is looked up."""

    def __init__(self, recorded: pa.Table, look_ups: Finder) -> None:
        self.recorded = recorded
        self._look_ups = look_ups

    def find(self, user_ids: Collection[str], ips: Collection[str]) -> Found:
        """Names and places of a batch."""
        wanted = pc.is_in(self.recorded["user_ip"], pa.array(list(ips), pa.string()))
        recorded = {row.pop("user_ip"): _place(Place(**row)) for row in self.recorded.filter(wanted).to_pylist()}
        found = self._look_ups.find(user_ids, [ip for ip in ips if ip not in recorded])
        return found._replace(places=found.places | recorded)


def _place(place: Place) -> Place | MissingPlace:
    return MissingPlace.NOT_FOUND if place == NOWHERE else place
