"""What the collector answers when it refuses: RFC 9457 problem details that name each fault and its place."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import orjson
from starlette.responses import Response

from streaming.domain.failures import Fault

# One event can break every rule of the contract at once; the first faults are enough to repair it.
MAX_FAULTS_PER_EVENT = 10

_PROBLEMS = {
    "malformed-request": (400, "The request cannot be read"),
    "invalid-events": (400, "Events break the contract"),
    "unknown-key": (401, "A known API key is needed"),
    "slow-request": (408, "The request took too long to arrive"),
    "too-large": (413, "The request is too large"),
    "unsupported-media-type": (415, "The media type is not supported"),
    "quota-exceeded": (429, "The quota is used up"),
    "unavailable": (503, "Events cannot be taken in now"),
}


class RefusedEvent(NamedTuple):
    """An event that was not accepted: its index in the request's array (None where it stands alone), and why."""

    place: int | None
    faults: Sequence[Fault]

    def errors(self) -> list[dict[str, str]]:
        """The first faults as the API shows them; each pointer starts at the request's root."""
        root = "" if self.place is None else f"/{self.place}"
        return [
            {"pointer": root + fault.field, "type": fault.type, "reason": fault.reason}
            for fault in self.faults[:MAX_FAULTS_PER_EVENT]
        ]


class Refusal(Exception):  # noqa: N818 - an answer, not an error
    """A request of which nothing is accepted. `kind` is the last part of the problem's type."""

    def __init__(
        self,
        kind: str,
        detail: str,
        refused: Sequence[RefusedEvent] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail
        self.refused = refused
        self.headers = headers

    def problem(self) -> dict[str, Any]:
        """The problem details as JSON values."""
        status, title = _PROBLEMS[self.kind]
        type_ = f"urn:clickstream:problem:{self.kind}"
        problem: dict[str, Any] = {"type": type_, "title": title, "status": status, "detail": self.detail}
        if self.refused:
            problem["errors"] = [error for event in self.refused for error in event.errors()]
        return problem

    def response(self) -> Response:
        """The response that tells the client."""
        problem = self.problem()
        return Response(orjson.dumps(problem), problem["status"], self.headers, media_type="application/problem+json")


def invalid_events(refused: Sequence[RefusedEvent]) -> Refusal:
    """The refusal of a request for the faults of its events."""
    return Refusal("invalid-events", "nothing of this request was accepted", refused)


def retry_later(kind: str, detail: str, seconds: int = 1) -> Refusal:
    """The refusal of a request that may succeed when it is sent again after `seconds`."""
    return Refusal(kind, detail, headers={"retry-after": str(seconds)})
