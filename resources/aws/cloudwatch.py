"""What the platform tells CloudWatch of itself: which of its alerts are active, a metric each, for alarms.

`commands.generated.templates` writes the alarms on them.
"""

from collections.abc import Mapping
from typing import Any

from streaming.domain.stack import METRICS, Stack
from streaming.edges.aws import client

ACTIVE_ALERTS = "ActiveAlerts"


def alert_metric(stack: Any, alert: str) -> dict[str, Any]:
    """An alert's metric, which is 1 while it is active and else 0; `stack` is a name, or what a template fills in."""
    return {
        "MetricName": ACTIVE_ALERTS,
        "Dimensions": [{"Name": "Stack", "Value": stack}, {"Name": "Alert", "Value": alert}],
    }


def publish_alerts(stack: Stack, alerts: Mapping[str, bool]) -> None:
    """Tell which alerts are active now, and which are not.

    Raises:
        botocore.exceptions.ClientError: CloudWatch refuses.
    """
    data = [{**alert_metric(stack.name, name), "Value": float(active)} for name, active in alerts.items()]
    client("cloudwatch").put_metric_data(Namespace=METRICS, MetricData=data)
