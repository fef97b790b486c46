"""Clients of AWS's services: one place for retries and timeouts.

Region, credentials and endpoints come from where boto3 finds them: `AWS_REGION`, a role or profile, and
`AWS_ENDPOINT_URL` or `AWS_ENDPOINT_URL_<SERVICE>` for an emulator.
"""

import os
from functools import partial
from threading import Lock
from typing import Any

from streaming.edges.backoff import full_jitter

# Throttled and failed requests are tried again with growing, random pauses: half a minute in all.
_ATTEMPTS = 8
_CONNECT_SECONDS = 5

# boto3 shares what it finds out, and not its care, between threads that make their clients at once.
_MAKING = Lock()


def client(service: str, *, read_seconds: float = 60, attempts: int = _ATTEMPTS, connections: int = 10) -> Any:
    """A boto3 client; safe to share between threads.

    Args:
        read_seconds: how long one try waits for an answer.
        attempts: how often a request is tried that is throttled, refused for now, or cut off.
    """
    import boto3  # noqa: PLC0415 - a third of a second, which only those pay who are on AWS
    from botocore.config import Config  # noqa: PLC0415

    config = Config(
        connect_timeout=_CONNECT_SECONDS,
        read_timeout=read_seconds,
        retries={"mode": "standard", "total_max_attempts": attempts},
        max_pool_connections=connections,
    )
    with _MAKING:
        made = boto3.client(service, region_name=region(), config=config)
    made.meta.events.register_first("needs-retry", partial(_retry_cut_off, most=attempts))
    return made


def region() -> str | None:
    """The region in force; None where none is set. boto3 itself passes AWS_REGION by."""
    import boto3  # noqa: PLC0415 - as above

    return os.environ.get("AWS_REGION") or boto3.Session().region_name


def has_credentials() -> bool:
    """Whether any are found where boto3 looks for them; whether AWS takes them, only AWS can tell."""
    import boto3  # noqa: PLC0415 - as above

    return boto3.Session().get_credentials() is not None


def _retry_cut_off(response: Any, operation: Any, attempts: int, most: int, **_: Any) -> float | None:
    """Have what is answered in part asked again: botocore takes what came of JSON for all of it."""
    from botocore.exceptions import ConnectionClosedError  # noqa: PLC0415 - as above

    if response is None or operation.has_streaming_output or operation.http.get("method") == "HEAD":
        return None
    answer = response[0]
    if len(answer.content) == int(answer.headers.get("content-length", len(answer.content))):
        return None
    if attempts >= most:
        raise ConnectionClosedError(endpoint_url=f"that of {operation.name}, whose answer broke off")
    return full_jitter(attempts)
