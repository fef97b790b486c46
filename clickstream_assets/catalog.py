"""Asset `catalog`: the crawler's role."""

import dagster as dg

from clickstream_assets.aggregates.registry import AGGREGATES
from clickstream_assets.aggregates.rolled_up import rolled_up
from resources.catalog import Catalog, View
from streaming.domain.tables import TABLES, Table

CATALOGUED: tuple[Table, ...] = (*TABLES.values(), *(aggregate.table for aggregate in AGGREGATES))
ROLLED_UP: tuple[View, ...] = tuple(view for aggregate in AGGREGATES for view in rolled_up(aggregate))


@dg.asset(
    deps=[dg.AssetDep(table.name, partition_mapping=dg.AllPartitionMapping()) for table in CATALOGUED],
    group_name="catalog",
    kinds={"duckdb"},
    owners=["team:analytics"],
    pool="catalog",
)
def catalog(catalog_database: dg.ResourceParam[Catalog]) -> dg.MaterializeResult[None]:
    """A DuckDB file with a view per table, for any tool to open; columns and their meaning as declared."""
    refreshed = catalog_database.refresh(CATALOGUED, ROLLED_UP)
    return dg.MaterializeResult(metadata={"views": refreshed.views, "without_files": refreshed.empty})
