"""CloudFormation's custom resources: whatever comes of a request, it is told, for else it waits for an hour."""

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.request import Request, urlopen

__all__ = ["answering"]

_LOG = logging.getLogger(__name__)
_SECONDS = 10
_LONGEST_REASON = 1000  # an answer may have 4 KB


@contextmanager
def answering(event: Mapping[str, Any]) -> Iterator[None]:
    """Tell CloudFormation that the request succeeded, or why what is done within failed; the error goes no further.

    The resource keeps the identity it has, or takes its logical name.

    Raises:
        OSError: CloudFormation cannot be told; Lambda then calls again.
    """
    try:
        yield
    except Exception as error:
        _LOG.exception("%s of %s failed", event["RequestType"], event["LogicalResourceId"])
        _answer(event, "FAILED", f"{type(error).__name__}: {error}")
    else:
        _answer(event, "SUCCESS")


def _answer(event: Mapping[str, Any], status: str, reason: str = "") -> None:
    answer = {name: event[name] for name in ("StackId", "RequestId", "LogicalResourceId")} | {
        "Status": status,
        "Reason": reason[:_LONGEST_REASON],
        "PhysicalResourceId": event.get("PhysicalResourceId") or event["LogicalResourceId"],
    }
    # The address is signed for an empty content type.
    request = Request(  # noqa: S310 - CloudFormation's own address
        event["ResponseURL"], json.dumps(answer).encode(), {"Content-Type": ""}, method="PUT"
    )
    with urlopen(request, timeout=_SECONDS):  # noqa: S310
        pass
