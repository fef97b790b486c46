"""`./run destroy` waits until what was accepted is in the lake: a Firehose that is deleted forgets what it holds."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from commands.cli import say
from streaming.edges.aws import client
from streaming.runtime.supervisor import SupervisorError

# A stage takes a moment to follow, and requests that are under way have half a minute.
SETTLING = timedelta(minutes=2)
# Metrics come five minutes late, and a Firehose that holds nothing is believed after a quarter of an hour of silence.
LONGEST = timedelta(hours=1)
POLL_SECONDS = 60.0

Delivered = Callable[[], datetime | None]


@contextmanager
def refusing_requests(apis: list[str], limits: Mapping[str, str]) -> Iterator[None]:
    """Have APIs answer 429 to every request, and as before where what is done meanwhile fails.

    Args:
        limits: `rateLimit` and `burstLimit`, as the stages have them.
    """
    _throttle(apis, dict.fromkeys(limits, "0"))
    try:
        yield
    except BaseException:
        _throttle(apis, limits)
        say("requests are taken in again")
        raise


def wait_until_delivered(
    delivered: Delivered, accepted_until: datetime, longest: timedelta = LONGEST, poll_seconds: float = POLL_SECONDS
) -> None:
    """Wait until all that was accepted before a moment is proven to be in the lake.

    Raises:
        SupervisorError: that was not proven in time.
    """
    deadline = datetime.now(UTC) + longest
    while (reached := delivered()) is None or reached < accepted_until:
        told = f"up to {reached:%H:%M:%S}" if reached else "to a moment that nobody knows"
        if datetime.now(UTC) >= deadline:
            raise SupervisorError(
                f"nothing was removed: Firehose has delivered {told}, and not provably what was accepted until "
                f"{accepted_until:%H:%M:%S} UTC. Try again, see why (`./run status`), or have what it holds lost: --now"
            )
        say(f"waiting for Firehose: delivered {told} of {accepted_until:%H:%M:%S} UTC; --now would not wait")
        time.sleep(poll_seconds)


def _throttle(apis: list[str], limits: Mapping[str, str]) -> None:
    gateway = client("apigateway")
    patch = [{"op": "replace", "path": f"/*/*/throttling/{limit}", "value": value} for limit, value in limits.items()]
    for api in apis:
        for stage in gateway.get_stages(restApiId=api)["item"]:
            gateway.update_stage(restApiId=api, stageName=stage["stageName"], patchOperations=patch)
