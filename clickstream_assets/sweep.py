"""Job `sweep_leftovers`: what processes that were killed left behind goes."""

import time
from datetime import timedelta

import dagster as dg

from resources.lake import Lake
from resources.warehouse import Warehouse

# A writer touches what it writes all the time, and the largest partition takes it minutes. What nobody has touched for
# an hour belongs to a process that is gone; should it only be stopped, its run fails when it goes on, and is repeated.
ABANDONED_AFTER = timedelta(hours=1)
FEW = 20


@dg.op(out=dg.Out(dg.Nothing))
def remove_abandoned_files(
    context: dg.OpExecutionContext, lake: dg.ResourceParam[Lake], warehouse: dg.ResourceParam[Warehouse]
) -> None:
    """Remove staged files, scratch folders and spilled memory that a kill -9 left; readers never saw them."""
    before = time.time() - ABANDONED_AFTER.total_seconds()
    swept = [lake.sweep(before), warehouse.sweep(before)]
    paths = [path for each in swept for path in each.paths]
    freed = sum(each.bytes for each in swept)
    context.add_output_metadata({"removed": len(paths), "bytes": freed, "first": paths[:FEW]})


@dg.job(description="What runs that were killed left behind is removed: staged files, scratch folders, spilled memory.")
def sweep_leftovers() -> None:
    """Once an hour."""
    remove_abandoned_files()
