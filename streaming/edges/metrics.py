"""Figures of CloudWatch by the minute."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

_MINUTE_SECONDS = 60


class Metric(NamedTuple):
    """A metric of one dimension, and what of it counts in a minute, such as `Sum`."""

    namespace: str
    name: str
    dimension: str
    value: str
    statistic: str


class FiguresMissingError(Exception):
    """CloudWatch has not told all that it knows, so that what it has not told means nothing."""


def read_figures(
    cloudwatch: Any, metrics: Mapping[str, Metric], since: datetime, until: datetime
) -> dict[str, dict[datetime, float]]:
    """Figures of some metrics by the minute (UTC) they are of; a minute that nobody told of has none.

    Raises:
        FiguresMissingError: those of one of them are not complete.
        botocore.exceptions.ClientError: CloudWatch refuses.
    """
    figures: dict[str, dict[datetime, float]] = {id_: {} for id_ in metrics}
    states: dict[str, str] = {}
    pages = cloudwatch.get_paginator("get_metric_data").paginate(
        MetricDataQueries=[_query(id_, metric) for id_, metric in metrics.items()], StartTime=since, EndTime=until
    )
    for page in pages:
        for result in page["MetricDataResults"]:
            minutes = (minute.astimezone(UTC) for minute in result["Timestamps"])
            figures[result["Id"]].update(zip(minutes, result["Values"], strict=True))
            states[result["Id"]] = result.get("StatusCode", "Complete")  # an emulator may not tell it
    incomplete = {metrics[id_].name: state for id_, state in states.items() if state != "Complete"}
    if incomplete:
        raise FiguresMissingError(f"CloudWatch says {incomplete}")
    return figures


def _query(id_: str, metric: Metric) -> dict[str, Any]:
    described = {
        "Namespace": metric.namespace,
        "MetricName": metric.name,
        "Dimensions": [{"Name": metric.dimension, "Value": metric.value}],
    }
    return {"Id": id_, "MetricStat": {"Metric": described, "Period": _MINUTE_SECONDS, "Stat": metric.statistic}}
