"""Names and places for enrichment outside the stream."""

from collections.abc import Collection

import dagster as dg

from streaming.domain.enrichment import CODE_VERSION
from streaming.domain.timestamps import format_timestamp
from streaming.edges.geo import GeoProvider
from streaming.edges.geo_provider import open_geo
from streaming.edges.look_ups import Found, LookUps, MissingName
from streaming.edges.users_db import UsersDb
from streaming.settings import Settings, load_settings


class SnapshotLookUps:
    """Names as they stand in the customers' database, read in one scan; places straight from the geo provider."""

    def __init__(self, users_db: UsersDb, geo: GeoProvider) -> None:
        customers = list(users_db.all_customers())
        newest = max((customer.updated_at for customer in customers), default=None)
        self._names = {str(customer.customer_id): customer.name for customer in customers}
        self._geo = geo
        self._version = f"{CODE_VERSION}/{geo.build}/{format_timestamp(newest) if newest else 'no-users'}"

    def find(self, user_ids: Collection[str], ips: Collection[str]) -> Found:
        """Names and places of a batch."""
        names = {user_id: self._names.get(user_id, MissingName.UNKNOWN_USER) for user_id in user_ids}
        return Found(names, self._geo.places(ips), self._version)


class EnrichmentSources:
    """Opens look-ups when they are needed, which most hours do not."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def live(self) -> LookUps:
        """As the stream is enriched: the cache first, then the geo provider."""
        return LookUps.from_settings(self._settings)

    def snapshot(self) -> SnapshotLookUps:
        """As customers and geo data are now, whatever the cache holds."""
        return SnapshotLookUps(UsersDb(self._settings.mysql_url), open_geo(self._settings))


class EnrichmentSourcesResource(dg.ConfigurableResource[EnrichmentSources]):
    """The cache, the geo data and the customers of the settings in force."""

    def create_resource(self, context: dg.InitResourceContext) -> EnrichmentSources:
        return EnrichmentSources(load_settings())
