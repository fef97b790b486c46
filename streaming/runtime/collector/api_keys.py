"""API keys: each maps to the pixel it may send for, a quota, and whether its payload's address is trusted."""

import hashlib
from pathlib import Path
from typing import Annotated

import msgspec
from starlette.requests import Request

from streaming.runtime.collector.problems import Refusal
from streaming.runtime.collector.quotas import Quota
from streaming.runtime.collector.request_body import MAX_EVENTS
from streaming.settings import SettingError


class ApiKey(msgspec.Struct, forbid_unknown_fields=True):
    """One entry of the key file. A quota of null is none."""

    pixel_id: str
    events_per_second: Annotated[float, msgspec.Meta(gt=0)] | None = None
    trust_payload_ip: bool = False


class Sender:
    """Who sends: the pixel it may send for, None for any; and its quota of events."""

    def __init__(
        self, pixel_id: str | None = None, events_per_second: float | None = None, trust_payload_ip: bool = False
    ) -> None:
        self.pixel_id = pixel_id
        self.trust_payload_ip = trust_payload_ip
        self._quota = (
            Quota(events_per_second, max(events_per_second, MAX_EVENTS), "events per second of this key")
            if events_per_second
            else None
        )

    def admit(self, events: int) -> None:
        """Count events.

        Raises:
            Refusal: the quota is used up.
        """
        if self._quota:
            self._quota.take(events)


class ApiKeys:
    """The keys of a deployment; without a key file everyone may send, for any pixel."""

    def __init__(self, file: Path | None) -> None:
        self._anyone = Sender() if file is None else None
        self._senders = {_digest(key): Sender(**msgspec.structs.asdict(entry)) for key, entry in _load(file).items()}

    def sender(self, request: Request) -> Sender:
        """The sender of a request.

        Raises:
            Refusal: the deployment has keys, and the request has none of them.
        """
        if self._anyone is not None:
            return self._anyone
        text = request.headers.get("x-api-key") or request.query_params.get("key", "")
        sender = self._senders.get(_digest(text))
        if sender is None:
            raise Refusal("unknown-key", "send a known key as X-Api-Key, or as ?key= where headers cannot be set")
        return sender


def _digest(key: str) -> bytes:
    """Keys are found by their hash, so that the time a look-up takes says nothing about the keys themselves."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()


def _load(file: Path | None) -> dict[str, ApiKey]:
    if file is None:
        return {}
    try:
        return msgspec.json.decode(file.read_bytes(), type=dict[str, ApiKey])
    except (OSError, msgspec.MsgspecError) as error:
        raise SettingError(f"CLICKSTREAM_API_KEYS: {file} cannot be used: {error}") from None
