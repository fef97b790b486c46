"""Names and places for enrichment outside the stream."""

import hashlib
from collections.abc import Collection
from dataclasses import replace
from functools import cached_property

import dagster as dg
import msgspec

from streaming.domain.enrichment import CODE_VERSION
from streaming.edges.geo import GeoProvider
from streaming.edges.geo_provider import open_geo
from streaming.edges.look_ups import Found, LookUps, MissingName
from streaming.edges.users_db import UsersDb
from streaming.settings import Settings, load_settings

# No client waits for a rebuild.
_PATIENCE_SECONDS = 30.0


class SnapshotLookUps:
    """Names as they stand in the customers' database, read in one scan; places straight from the geo provider.

    The version names the names by their content: equal versions mean equal names. `unrepeatable_build` is the geo build
    where asking once more may give other places, so that what was recorded of it is to be kept; else None.
    """

    def __init__(self, users_db: UsersDb, geo: GeoProvider) -> None:
        content = hashlib.blake2b(digest_size=8)
        self._names: dict[str, str] = {}
        for customer in users_db.all_customers():
            content.update(msgspec.msgpack.encode((customer.customer_id, customer.name)))
            self._names[str(customer.customer_id)] = customer.name
        self._geo = geo
        self._version = f"{CODE_VERSION}/{geo.build}/users@{content.hexdigest()}"
        self.unrepeatable_build = None if geo.repeatable else geo.build

    def find(self, user_ids: Collection[str], ips: Collection[str]) -> Found:
        """Names and places of a batch."""
        names = {user_id: self._names.get(user_id, MissingName.UNKNOWN_USER) for user_id in user_ids}
        return Found(names, self._geo.places(ips), self._version)


class EnrichmentSources:
    """Opens look-ups when they are needed, which most hours do not; all hours of a run share them."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def live(self) -> LookUps:
        """As the stream is enriched: the cache first, then the geo provider."""
        return self._live

    def snapshot(self) -> SnapshotLookUps:
        """As customers and geo data are now, whatever the cache holds."""
        return self._snapshot

    @cached_property
    def _live(self) -> LookUps:
        return LookUps.from_settings(self._settings)

    @cached_property
    def _snapshot(self) -> SnapshotLookUps:
        patient = replace(self._settings, lookup_deadline_seconds=_PATIENCE_SECONDS)
        return SnapshotLookUps(UsersDb(self._settings.mysql_url), open_geo(patient))


class EnrichmentSourcesResource(dg.ConfigurableResource[EnrichmentSources]):
    """The cache, the geo data and the customers of the settings in force."""

    def create_resource(self, context: dg.InitResourceContext) -> EnrichmentSources:
        return EnrichmentSources(load_settings())
