"""Renders the mapping templates of infra/ as API Gateway does, with what it gives them: $input, $context and $util.

Where the engine is not API Gateway's, the templates keep to what both do alike: no method that only Java's strings
have, no arithmetic but in #set, no property of a string. `$input.json` writes values anew, as API Gateway does: numbers
and white space may be other bytes.
"""

import base64
import json
import re
from datetime import UTC, datetime
from typing import Any

import airspeed

from tests.infra.templates import load


class Rendered:
    """What became of a template: its text, and what it overrode of the response."""

    def __init__(self, text: str, override: dict[str, Any]) -> None:
        self.json = json.loads(text)
        self.status = override.get("status")
        self.headers = override["header"]


class Gateway:
    """A request on its way through the API."""

    def __init__(
        self,
        now: datetime | None = None,
        request_id: str = "3f5c1d8e-0ed3-4a4e-8b0a-4d5b8d7f2222",
        address: str = "169.235.214.44",
        trust_payload_ip: str = "false",
        origin: str | None = None,
    ) -> None:
        self.now = now or datetime.now(UTC)
        self._context = {
            "requestId": request_id,
            "requestTime": f"{self.now:%d/%b/%Y:%H:%M:%S} +0000",
            "requestTimeEpoch": int(self.now.timestamp() * 1000),
            "identity": {"sourceIp": address},
        }
        self._stage = {"stream": "clickstream-events", "trust_payload_ip": trust_payload_ip}
        self._origin = origin

    def render(self, template: str, body: str) -> Rendered:
        """Render a template of POST /events for a body: `Request`, `Response` or `Error`."""
        text = load("ingestion.yaml")["Mappings"]["Vtl"]["PutRecords"][template]
        context = self._context | {"responseOverride": {"header": {}}}
        names = {
            "input": _Input(body, self._origin),
            "util": _Util(),
            "context": context,
            "stageVariables": self._stage,
        }
        return Rendered(airspeed.Template(text).merge(names), context["responseOverride"])


class _Input:
    def __init__(self, body: str, origin: str | None) -> None:
        self.body = body
        self._origin = origin

    def path(self, path: str) -> Any:
        value = json.loads(self.body)
        for key, index in re.findall(r"\.(\w+)|\[(\d+)\]", path):
            value = value.get(key) if key else value[int(index)]
        return value

    def json(self, path: str) -> str:
        return json.dumps(self.path(path), ensure_ascii=False, separators=(",", ":"))

    def params(self, name: str) -> str:
        return self._origin or "" if name == "Origin" else ""


class _Util:
    def base64Encode(self, text: str) -> str:  # noqa: N802
        return base64.b64encode(text.encode()).decode()
