"""Look-ups that cannot be repeated are recorded by the rows they were made for; a rebuild keeps to the record."""

from collections.abc import Collection
from datetime import datetime
from typing import Protocol

import pyarrow as pa
import pyarrow.compute as pc

from resources.lake import Lake
from resources.warehouse import Source, Warehouse, sql_file
from streaming.domain.enrichment import NOWHERE, Place
from streaming.domain.tables import ENRICHED_EVENTS, ENRICHED_LANDING
from streaming.edges.geo import MissingPlace
from streaming.edges.look_ups import Finder, Found


class Snapshot(Finder, Protocol):
    """Names and places as they stand now.

    `unrepeatable_build`: the geo build, where asking once more may give other places; None where it never does.
    """

    unrepeatable_build: str | None


class RecordedLookUps:
    """Places as they are recorded for an hour; only what is not recorded is looked up."""

    def __init__(self, recorded: pa.Table, look_ups: Finder) -> None:
        self._recorded = recorded
        self._look_ups = look_ups

    def find(self, user_ids: Collection[str], ips: Collection[str]) -> Found:
        """Names and places of a batch."""
        wanted = pc.is_in(self._recorded["user_ip"], pa.array(list(ips), pa.string()))
        recorded = {row.pop("user_ip"): _place(Place(**row)) for row in self._recorded.filter(wanted).to_pylist()}
        found = self._look_ups.find(user_ids, [ip for ip in ips if ip not in recorded])
        return found._replace(places=found.places | recorded)


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


def _place(place: Place) -> Place | MissingPlace:
    return MissingPlace.NOT_FOUND if place == NOWHERE else place
