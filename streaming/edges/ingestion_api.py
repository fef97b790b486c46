"""The ingestion API's one description, `infra/openapi.json`: the collector serves it, validation goes by it."""

import json
from functools import cache
from importlib.abc import ResourceLoader
from typing import Any, cast

from streaming.domain.validation import EventContract
from streaming.settings import ROOT

OPENAPI_FILE = ROOT / "infra" / "openapi.json"


@cache
def load_openapi() -> dict[str, Any]:
    """The OpenAPI document."""
    # By whom this module was loaded: Spark's jobs have their modules in a zip, which is no folder to read from.
    loader = cast(ResourceLoader, __spec__.loader)
    document: dict[str, Any] = json.loads(loader.get_data(str(OPENAPI_FILE)))
    return document


@cache
def load_contract() -> EventContract:
    """The contract of an event, from the document's schema `Event`."""
    return EventContract(load_openapi()["components"]["schemas"]["Event"])
