"""The collector one writes first: Starlette, json, and one XADD an event. What bench/collector.py compares with."""

import json
import os
import uuid
from datetime import UTC, datetime

import redis
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

REQUIRED = ("timestamp", "user_id", "pixel_id", "click_id", "event_name")


def plain_collector() -> Starlette:
    """The application, on the Redis of REDIS_URL."""
    client = redis.Redis.from_url(os.environ["REDIS_URL"])

    async def post_events(request: Request) -> JSONResponse:
        body = await request.json()
        events = body if isinstance(body, list) else [body]
        if any(key not in event for event in events for key in REQUIRED):
            return JSONResponse({"error": "a required key is missing"}, 400)
        record_ids = []
        for event in events:
            record_ids.append(uuid.uuid4().hex)
            envelope = {
                "record_id": record_ids[-1],
                "arrival_timestamp": datetime.now(UTC).isoformat(),
                "client_ip": request.client.host if request.client else None,
                "event": event,
            }
            client.xadd("plain", {"k": event["user_id"], "d": json.dumps(envelope)})
        return JSONResponse({"accepted": len(record_ids), "record_ids": record_ids})

    async def get_health(_request: Request) -> JSONResponse:
        return JSONResponse({"ok": client.ping()})

    return Starlette(routes=[Route("/events", post_events, methods=["POST"]), Route("/health", get_health)])
