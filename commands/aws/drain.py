"""`./run destroy` waits until what was accepted is in the lake: a Firehose that is deleted forgets what it holds."""

import shlex
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple, NoReturn

from commands.cli import say
from streaming.edges.aws import client
from streaming.runtime.supervisor import SupervisorError

# A stage takes a moment to follow, and requests that are under way have half a minute.
SETTLING = timedelta(minutes=2)
# Metrics come five minutes late, and a Firehose that holds nothing is believed after a quarter of an hour of silence.
LONGEST = timedelta(hours=1)
POLL_SECONDS = 60.0

# What a stage limits, and the template's parameter for it.
LIMITS = {"rateLimit": "RequestsPerSecond", "burstLimit": "RequestBurst"}

Delivered = Callable[[], datetime | None]


class Stage(NamedTuple):
    """A stage of an API, and the requests it takes by `rateLimit` and `burstLimit`."""

    api: str
    name: str
    limits: Mapping[str, str]

    def limit(self) -> None:
        """Have the stage take so many requests; what is more is answered 429."""
        changes = [{"op": "replace", "path": _path(limit), "value": value} for limit, value in self.limits.items()]
        client("apigateway").update_stage(restApiId=self.api, stageName=self.name, patchOperations=changes)

    def command(self) -> str:
        """The command of AWS's own tool that does so."""
        changes = [f"op=replace,path={_path(limit)},value={value}" for limit, value in self.limits.items()]
        names = ["--rest-api-id", self.api, "--stage-name", self.name]
        return shlex.join(["aws", "apigateway", "update-stage", *names, "--patch-operations", *changes])


def stages_of(stack: Mapping[str, Any], apis: Iterable[str]) -> list[Stage]:
    """The stages of a stack's APIs, with the limits that its parameters give."""
    parameters = {each["ParameterKey"]: each["ParameterValue"] for each in stack["Parameters"]}
    limits = {limit: parameters[parameter] for limit, parameter in LIMITS.items()}
    gateway = client("apigateway")
    return [Stage(api, each["stageName"], limits) for api in apis for each in gateway.get_stages(restApiId=api)["item"]]


@contextmanager
def refusing_requests(stages: Iterable[Stage]) -> Iterator[None]:
    """Have stages answer 429 to every request; where what is done meanwhile fails, or is told to end, as before."""
    with _ended_by_exceptions():
        try:
            for stage in stages:
                stage._replace(limits=dict.fromkeys(stage.limits, "0")).limit()
            yield
        except BaseException:
            _take_requests_again(stages)
            raise


def _take_requests_again(stages: Iterable[Stage]) -> None:
    for stage in stages:
        try:
            stage.limit()
        except BaseException as error:  # another is under way, and this must be known
            say(f"requests are still refused ({error or type(error).__name__}); this takes them in again:")
            say(f"  {stage.command()}")
        else:
            say("requests are taken in again")


@contextmanager
def _ended_by_exceptions() -> Iterator[None]:
    """Have SIGTERM and SIGHUP, unless they are ignored, end this process as Ctrl-C does: by an exception."""

    def end(signum: int, _: object) -> NoReturn:
        raise SystemExit(128 + signum)

    heard = [each for each in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(each) != signal.SIG_IGN]
    before = {each: signal.signal(each, end) for each in heard}
    try:
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)


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


def _path(limit: str) -> str:
    return f"/*/*/throttling/{limit}"
