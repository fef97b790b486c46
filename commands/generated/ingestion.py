"""What `infra/ingestion.yaml` has of other files: the request model, from the contract, and the deployments' names.

A deployment of API Gateway is a copy of the API as it was then: under another name there will be a new one, so its name
has a hash of the template. `python -m commands.generated.ingestion` writes both, and so does `./run lint --fix`.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

from streaming.edges.ingestion_api import load_openapi
from streaming.settings import ROOT

TEMPLATE = ROOT / "infra" / "ingestion.yaml"

# What JSON Schema's draft 4, which API Gateway knows, has no word for or no use of.
_LEFT_OUT = {"description", "examples"}
_DEPLOYMENT = re.compile(r"\bDeployment[0-9a-f]{10}(?=Keys\b|Open\b)")


def completed(template: str) -> str:
    """The template with the model and the names that belong to it."""
    schema = json.dumps(request_model(load_openapi()))
    template = re.sub(r"(?m)^      Schema: .*$", lambda _: f"      Schema: {schema}", template, count=1)
    unnamed = _DEPLOYMENT.sub("Deployment", template)
    digest = hashlib.sha256(unnamed.encode()).hexdigest()[:10]
    return _DEPLOYMENT.sub(f"Deployment{digest}", template)


def request_model(openapi: Mapping[str, Any]) -> dict[str, Any]:
    """The schema of a request's body: one event, or an array of them."""
    operation = openapi["paths"]["/events"]["post"]
    event = openapi["components"]["schemas"]["Event"]
    return {
        "$schema": "http://json-schema.org/draft-04/schema#",
        "definitions": {"Event": _draft4(event)},
        **_draft4(operation["requestBody"]["content"]["application/json"]["schema"]),
    }


def _draft4(schema: Any) -> Any:
    match schema:
        case {"$ref": str(target)}:
            return {"$ref": target.replace("#/components/schemas/", "#/definitions/")}
        case {"properties": dict(properties)}:
            others = {key: value for key, value in schema.items() if key != "properties"}
            return _draft4(others) | {"properties": {name: _draft4(each) for name, each in properties.items()}}
        case dict():
            return {key: _draft4(value) for key, value in schema.items() if key not in _LEFT_OUT}
        case list():
            return [_draft4(each) for each in schema]
    return schema


if __name__ == "__main__":
    TEMPLATE.write_text(completed(TEMPLATE.read_text()))
