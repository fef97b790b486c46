"""Look-ups that cannot be repeated are recorded by the rows they were made for; a rebuild keeps to the record."""

from datetime import datetime

import pyarrow as pa

from resources.lake import Lake
from resources.look_ups import SnapshotLookUps
from resources.warehouse import Source, Warehouse, sql_file
from streaming.domain.tables import ENRICHED_EVENTS, ENRICHED_LANDING


def recorded_places(look_ups: SnapshotLookUps, hour: datetime, lake: Lake, warehouse: Warehouse) -> pa.Table | None:
    """The places that are not to be looked up again, so that an hour is rebuilt as it was; None: asking gives the same.

    The record is the hour itself: its sealed file, and its landing files, which are still there should that be lost.
    """
    if look_ups.unrepeatable_build is None:
        return None
    sealed = lake.partition(ENRICHED_EVENTS, hour)
    files = [*([sealed] if sealed else []), *lake.list_hour(ENRICHED_LANDING.prefix, hour)]
    sources = {"enriched_events": Source(ENRICHED_EVENTS, files)}
    return warehouse.select(sql_file("enriched/recorded_places"), [look_ups.unrepeatable_build], sources)
