"""Look-ups that cannot be repeated are recorded by the rows they were made for; a rebuild keeps to the record."""

from datetime import datetime
from typing import Protocol

from resources.lake import Lake
from resources.warehouse import Source, Warehouse, sql_file
from streaming.domain.tables import ENRICHED_EVENTS, ENRICHED_LANDING
from streaming.edges.look_ups import Finder
from streaming.jobs.look_ups import RecordedLookUps


class Snapshot(Finder, Protocol):
    """Names and places as they stand now.

    `unrepeatable_build`: the geo build, where asking once more may give other places; None where it never does.
    """

    unrepeatable_build: str | None


def repeatable(look_ups: Snapshot, hour: datetime, lake: Lake, warehouse: Warehouse) -> Finder:
    """Look-ups that give the same for an hour whenever it is rebuilt with the same geo build.

    The record is the hour itself: its sealed file, and its landing files, which are still there should that be lost.
    """
    if look_ups.unrepeatable_build is None:
        return look_ups
    sealed = lake.partition(ENRICHED_EVENTS, hour)
    files = [*([sealed] if sealed else []), *lake.list_hour(ENRICHED_LANDING.prefix, hour)]
    sources = {"enriched_events": Source(ENRICHED_EVENTS, files)}
    recorded = warehouse.select(sql_file("enriched/recorded_places"), [look_ups.unrepeatable_build], sources)
    return RecordedLookUps(recorded, look_ups)
