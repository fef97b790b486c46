"""Checks of partitions: one evaluation a partition, also where one run writes a range of them."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import dagster as dg
from dagster._core.definitions.asset_checks.asset_check_evaluation import AssetCheckEvaluationTargetMaterializationData


class Verdict(NamedTuple):
    """Whether a partition passes, what a person wants to know of it, and in a sentence what is wrong."""

    passed: bool
    metadata: Mapping[str, Any]
    description: str | None = None


class Check(NamedTuple):
    """The verdicts of a check, by partition key; one that does not block is a warning."""

    name: str
    verdicts: Mapping[str, Verdict]
    blocking: bool = True


def evaluate_partitions(
    context: dg.AssetExecutionContext,
    checks: Sequence[Check],
    only: Mapping[str, Mapping[str, Any]] | None = None,
) -> Iterator[dg.AssetCheckEvaluation | dg.AssetMaterialization | dg.MaterializeResult[None] | dg.Output[None]]:
    """Report the asset's partitions as materialised, then the verdict on each; a failed one blocks what is downstream.

    An AssetCheckResult would make one evaluation for the whole range and name no partition.

    Args:
        checks: all of the asset's, those that block last.
        only: report just these partitions of the run's range, with their metadata. None: all of them.
    """
    if only is None:
        yield dg.MaterializeResult()
    else:
        for key, metadata in only.items():
            yield dg.AssetMaterialization(context.asset_key, partition=key, metadata=metadata)
    keys = sorted({key for check in checks for key in check.verdicts})
    written = context.instance.fetch_materializations(
        dg.AssetRecordsFilter(asset_key=context.asset_key, asset_partitions=keys), limit=2 * len(keys)
    )
    latest = {record.partition_key: record for record in reversed(written.records)}
    for check in checks:
        for key, verdict in check.verdicts.items():
            record = latest[key]
            yield dg.AssetCheckEvaluation(
                asset_key=context.asset_key,
                check_name=check.name,
                passed=verdict.passed,
                metadata={name: _shown(value) for name, value in verdict.metadata.items()},
                severity=dg.AssetCheckSeverity.ERROR if check.blocking else dg.AssetCheckSeverity.WARN,
                description=verdict.description,
                blocking=check.blocking,
                partition=key,
                target_materialization_data=AssetCheckEvaluationTargetMaterializationData(
                    storage_id=record.storage_id, run_id=record.run_id, timestamp=record.timestamp
                ),
            )
        yield dg.Output(None, output_name=f"{context.asset_key.path[-1]}_{check.name}")


def _shown(value: Any) -> dg.MetadataValue[Any]:
    """Numbers are plotted from run to run."""
    return dg.MetadataValue.int(value) if isinstance(value, int) else dg.MetadataValue.text(str(value))
