"""The API's description for machines (`/openapi.json`) and for people (`/docs`), without any external request."""

import orjson
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from swagger_ui_bundle import swagger_ui_path

from streaming.edges.ingestion_api import load_openapi

_SECURITY_POLICY = "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:"
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>Clickstream ingestion API</title>
<link rel="icon" type="image/png" href="/docs/ui/favicon-32x32.png">
<link rel="stylesheet" href="/docs/ui/swagger-ui.css">
</head>
<body>
<div id="swagger-ui"></div>
<script src="/docs/ui/swagger-ui-bundle.js"></script>
<script src="/docs/start.js"></script>
</body>
</html>
"""
_START = "SwaggerUIBundle({url: '/openapi.json', dom_id: '#swagger-ui', deepLinking: true, validatorUrl: null});\n"


def docs_routes() -> list[BaseRoute]:
    """The routes of the description; the root leads to it."""
    return [
        Route("/", _root),
        Route("/openapi.json", _openapi),
        Route("/docs", _page),
        Route("/docs/start.js", _start),
        Mount("/docs/ui", StaticFiles(directory=swagger_ui_path)),
    ]


async def _root(_request: Request) -> Response:
    return RedirectResponse("/docs")


async def _openapi(_request: Request) -> Response:
    return Response(orjson.dumps(load_openapi()), media_type="application/json")


async def _page(_request: Request) -> Response:
    return HTMLResponse(_PAGE, headers={"content-security-policy": _SECURITY_POLICY})


async def _start(_request: Request) -> Response:
    return Response(_START, media_type="text/javascript")
