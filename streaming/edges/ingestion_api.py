"""The ingestion API's one description, `infra/openapi.json`: the collector serves it, validation goes by it."""

import json
from functools import cache
from typing import Any

from streaming.domain.validation import EventContract
from streaming.settings import ROOT

OPENAPI_FILE = ROOT / "infra" / "openapi.json"


@cache
def load_openapi() -> dict[str, Any]:
    """The OpenAPI document."""
    document: dict[str, Any] = json.loads(OPENAPI_FILE.read_text())
    return document


@cache
def load_contract() -> EventContract:
    """The contract of an event, from the document's schema `Event`."""
    return EventContract(load_openapi()["components"]["schemas"]["Event"])
