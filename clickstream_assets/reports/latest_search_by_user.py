"""Writing `latest_search_by_user`: one statement of Athena over the lake, Redis and MySQL."""

from datetime import date
from typing import NamedTuple

from clickstream_assets.aggregates.dependence import Dependence, FlattenedDays
from resources.federation import Federation, Unavailable
from resources.lake import Lake, written_partition
from resources.warehouse import Source, Warehouse, sql_file
from streaming.domain.tables import LATEST_SEARCH_BY_USER

STATEMENT = "athena/latest_search_by_user"


def refresh(lake: Lake, federation: Federation) -> Unavailable:
    """Write the report from all that is flattened, and from Redis and MySQL as they are now.

    It is dated by what is flattened. A source that is down costs its columns: they are null, also where an earlier
    report had values.
    """
    flattened = FlattenedDays(lake)
    events, as_of = flattened.source(*_all_of(flattened)), flattened.as_of(*_all_of(flattened))
    with lake.scratch() as scratch, lake.publishing(LATEST_SEARCH_BY_USER, None, as_of) as file:
        return federation.save(sql_file(STATEMENT), events, LATEST_SEARCH_BY_USER, file, scratch)


class Astray(NamedTuple):
    """How many users the report has wrong; `up_to_date`: nothing was flattened since it was written.

    Before it is up to date again, only a user who stands in it more than once is a fault.
    """

    up_to_date: bool
    repeated_users: int
    missing_users: int
    unknown_users: int
    outdated_users: int

    @property
    def is_at_fault(self) -> bool:
        """Whether the report is other than what it was made from."""
        return any(self[1:]) if self.up_to_date else self.repeated_users > 0


def users_astray(lake: Lake, warehouse: Warehouse) -> Astray:
    """Hold the report against flattened events as they are now."""
    flattened = FlattenedDays(lake)
    sources = {
        "flattened_events": flattened.source(*_all_of(flattened)),
        LATEST_SEARCH_BY_USER.name: Source(
            LATEST_SEARCH_BY_USER, [written_partition(lake, LATEST_SEARCH_BY_USER, None)]
        ),
    }
    (found,) = warehouse.select(sql_file("reports/users_astray"), [], sources).to_pylist()
    now = FlattenedDays(lake)  # looked at once more: nothing may have been flattened while they were compared
    return Astray(lake.as_of(LATEST_SEARCH_BY_USER, None) == now.as_of(*_all_of(now)), **found)


def _all_of(flattened: FlattenedDays) -> tuple[Dependence, date]:
    return Dependence.HISTORY, max(flattened.days, default=date.min)
