"""Asset `catalog`: the crawler's role. Files are crawled, and views made for what they have; checks tell of drift."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import dagster as dg

from clickstream_assets.aggregates.registry import AGGREGATES
from clickstream_assets.aggregates.rolled_up import rolled_up
from resources.catalog import Catalog, View
from resources.crawler import SCHEMA_DRIFT, Drift
from streaming.domain.schema_drift import DriftKind
from streaming.domain.tables import TABLES, Table

CATALOGUED: tuple[Table, ...] = (*TABLES.values(), *(aggregate.table for aggregate in AGGREGATES))
FEW = 5
ROLLED_UP: tuple[View, ...] = tuple(view for aggregate in AGGREGATES for view in rolled_up(aggregate))


class DriftCheck(NamedTuple):
    """A check that files have no drift of these kinds; what it asserts, and what to do about those it finds."""

    name: str
    kinds: tuple[DriftKind, ...]
    asserts: str
    what_to_do: str


DRIFT_CHECKS = (
    DriftCheck(
        "files_have_no_new_columns",
        (DriftKind.NEW_COLUMN,),
        "Files have no columns, and raw events no keys, beyond those declared.",
        "Nothing is lost: views pass by what is not declared, and keys that clients add are in `extra`. If analysts "
        "want it, declare it in streaming/domain/tables.py; an event's key also in infra/openapi.json.",
    ),
    DriftCheck(
        "files_lack_no_columns",
        (DriftKind.MISSING_COLUMN,),
        "Files have all columns declared.",
        "The column reads as null in these files. An earlier release wrote them, or somebody by hand: backfill their "
        "partitions of the asset.",
    ),
    DriftCheck(
        "types_are_as_declared",
        (DriftKind.CHANGED_TYPE,),
        "Columns of files, and keys of raw events, have the types declared.",
        "Values are cast, and null where they cannot be. Backfill the partitions of the asset. In raw events a client "
        "sends it: these events are in failed_events, to be replayed once the client or the contract is mended.",
    ),
    DriftCheck(
        "files_can_be_read",
        (DriftKind.UNREADABLE, DriftKind.UNRECOGNISED),
        "Every file can be read, and a classifier recognises every line of raw events.",
        "Views leave these files out, or of their lines what cannot be read. Backfill the partition of the asset; "
        "restore a raw file from the back-up; move away what does not belong into the lake.",
    ),
)


@dg.asset(
    deps=[dg.AssetDep(table.name, partition_mapping=dg.AllPartitionMapping()) for table in CATALOGUED],
    group_name="catalog",
    kinds={"duckdb"},
    owners=["team:analytics"],
    pool="catalog",
    check_specs=[dg.AssetCheckSpec(each.name, asset="catalog", description=each.asserts) for each in DRIFT_CHECKS],
)
def catalog(catalog_database: dg.ResourceParam[Catalog]) -> Iterator[dg.MaterializeResult[None]]:
    """A DuckDB file with a view per table, for any tool to open; columns and their meaning as declared.

    Looks at files that are new or changed; how they differ from what is declared is in `schema_drift`.
    """
    try:
        crawled = catalog_database.crawl(CATALOGUED)
    finally:  # what tells of drift may be broken: a release's columns are there all the same
        refreshed = catalog_database.refresh(CATALOGUED, ROLLED_UP)
    yield dg.MaterializeResult(
        metadata={"views": refreshed.views, "without_files": refreshed.empty, **crawled._asdict()},
        check_results=[_result(check, refreshed.drifts) for check in DRIFT_CHECKS],
    )


def _result(check: DriftCheck, drifts: Iterable[Drift]) -> dg.AssetCheckResult:
    """What a check says: it is an error where numbers are wrong or incomplete, and else a warning."""
    found = [drift for drift in drifts if drift.kind in check.kinds]
    if not found:
        return dg.AssetCheckResult(passed=True, check_name=check.name)
    is_error = any(drift.is_error for drift in found)
    return dg.AssetCheckResult(
        passed=False,
        check_name=check.name,
        severity=dg.AssetCheckSeverity.ERROR if is_error else dg.AssetCheckSeverity.WARN,
        description="; ".join(_told(drift) for drift in found[:FEW]) + ("; …" if len(found) > FEW else ""),
        metadata={"drift": _as_table(found), "what_to_do": check.what_to_do},
    )


def _told(drift: Drift) -> str:
    column = f"{drift.table_name}.{drift.column_name}" if drift.column_name else drift.table_name
    declared = f" (declared {drift.declared})" if drift.declared else ""
    return f"{column}: {drift.kind} {drift.found}{declared}, files: {drift.files}"


def _as_table(drifts: Iterable[Drift]) -> dg.TableMetadataValue:
    schema = dg.TableSchema([dg.TableColumn(each.name, each.type, each.comment) for each in SCHEMA_DRIFT])
    rows = [{name: _cell(value) for name, value in drift._asdict().items()} for drift in drifts]
    return dg.MetadataValue.table([dg.TableRecord(row) for row in rows], schema)


def _cell(value: object) -> str | int:
    return value if isinstance(value, int) else str(value)
