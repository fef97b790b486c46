"""Names and places for enrichment outside the stream."""

import hashlib
from dataclasses import replace
from functools import cached_property

import dagster as dg
import msgspec
import pyarrow as pa

from streaming.domain.enrichment import CODE_VERSION
from streaming.edges.geo.places import GeoProvider
from streaming.edges.geo.provider import open_geo
from streaming.edges.look_ups import LookUps
from streaming.edges.users_db import UsersDb
from streaming.jobs.files import copied, is_remote, write_table
from streaming.jobs.look_ups import PATIENCE_SECONDS, FixedLookUps
from streaming.jobs.work import HandedOver
from streaming.settings import Settings, load_settings


class SnapshotLookUps(FixedLookUps):
    """Names as they stand in the customers' database, read in one scan; places straight from the geo provider.

    The version names the names by their content: equal versions mean equal names. `unrepeatable_build` is the geo build
    where asking once more may give other places, so that what was recorded of it is to be kept; else None.
    """

    def __init__(self, users_db: UsersDb, geo: GeoProvider) -> None:
        content = hashlib.blake2b(digest_size=8)
        names: dict[str, str] = {}
        for customer in users_db.all_customers():
            content.update(msgspec.msgpack.encode((customer.customer_id, customer.name)))
            names[str(customer.customer_id)] = customer.name
        super().__init__(names, geo, f"{CODE_VERSION}/{geo.build}/users@{content.hexdigest()}")
        self.unrepeatable_build = None if geo.repeatable else geo.build


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

    def hand_over(self, shared: str) -> HandedOver:
        """The snapshot, for a job that enriches elsewhere; `shared` is a folder, path or URL, that it can read."""
        snapshot, settings = self.snapshot(), self._settings
        names = pa.table({"user_id": [*snapshot.names], "name": [*snapshot.names.values()]})
        write_table(names, f"{shared}/names.parquet")
        geoip = settings.geoip_database
        return HandedOver(
            snapshot.version,
            f"{shared}/names.parquet",
            None if geoip is None else copied(geoip, f"{shared}/geoip") if is_remote(shared) else str(geoip),
            {
                "CLICKSTREAM_START": f"{settings.start:%Y-%m-%d}",
                "IPINFO_TOKEN": settings.ipinfo_token or "",  # on AWS the name of a secret, which the job may read
                "IPINFO_URL": settings.ipinfo_url,
            },
        )

    @cached_property
    def _live(self) -> LookUps:
        return LookUps.from_settings(self._settings)

    @cached_property
    def _snapshot(self) -> SnapshotLookUps:
        patient = replace(self._settings, lookup_deadline_seconds=PATIENCE_SECONDS)
        return SnapshotLookUps(UsersDb(self._settings.mysql_url), open_geo(patient))


class EnrichmentSourcesResource(dg.ConfigurableResource[EnrichmentSources]):
    """The cache, the geo data and the customers of the settings in force."""

    def create_resource(self, context: dg.InitResourceContext) -> EnrichmentSources:
        return EnrichmentSources(load_settings())
