"""From a request to the JSON text of its events, within bounds on time, bytes and number."""

import asyncio
import json
import re
import zlib

import msgspec
from starlette.requests import ClientDisconnect, Request

from streaming.domain.failures import FailureType, Fault
from streaming.runtime.collector.problems import Refusal, RefusedEvent, invalid_events, retry_later

MAX_BODY_BYTES = 1_048_576  # as sent, and again once decompressed
MAX_EVENTS = 500
MAX_RECEIVING_BYTES = 64 * MAX_BODY_BYTES  # of all requests at one time
BODY_SECONDS = 10.0

# What is too large is read to its end, up to this, so that the client gets to read why it was refused.
_MAX_DISCARDED_BYTES = 16 * MAX_BODY_BYTES
_MEDIA_TYPES = ("", "application/json", "text/plain")
_ENCODINGS = ("", "identity", "gzip")
_SPACE = b" \t\r\n"
_CLOSE = {"connection": "close"}

_split = msgspec.json.Decoder(list[msgspec.Raw]).decode
_scan = json.JSONDecoder().raw_decode
_space = re.compile(r"[ \t\r\n]*").match


class BodyReader:
    """Reads bodies, all that are on their way at one time within a bound of their own."""

    def __init__(self) -> None:
        self._receiving_bytes = 0

    async def read(self, request: Request) -> bytes:
        """The request's body, decompressed.

        Raises:
            Refusal: unsupported media type, too large, too slow, truncated or not gzip, or too many at a time.
        """
        media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        encoding = request.headers.get("content-encoding", "").strip().lower()
        if media_type not in _MEDIA_TYPES:
            raise Refusal("unsupported-media-type", "send application/json, or text/plain that holds JSON")
        if encoding not in _ENCODINGS:
            raise Refusal("unsupported-media-type", "the only content encoding taken is gzip")
        try:
            async with asyncio.timeout(BODY_SECONDS):
                body = await self._receive(request)
        except TimeoutError:
            detail = f"the body must arrive within {BODY_SECONDS:g} seconds"
            raise Refusal("slow-request", detail, headers=_CLOSE) from None
        except ClientDisconnect:
            raise Refusal("malformed-request", "the connection closed before the body ended") from None
        return _gunzip(body) if encoding == "gzip" else body

    async def _receive(self, request: Request) -> bytes:
        declared = request.headers.get("content-length", "0")
        if declared.isdigit() and int(declared) > _MAX_DISCARDED_BYTES:
            raise _too_large()
        body = bytearray()
        size = 0
        try:
            async for chunk in request.stream():
                size += len(chunk)
                if size <= MAX_BODY_BYTES:
                    body += chunk
                    self._receiving_bytes += len(chunk)
                elif size > _MAX_DISCARDED_BYTES:
                    break
                if self._receiving_bytes > MAX_RECEIVING_BYTES:
                    raise retry_later("unavailable", "too many requests are on their way")
        finally:
            self._receiving_bytes -= len(body)
        if size > MAX_BODY_BYTES:
            raise _too_large()
        return bytes(body)


def holds_array(body: bytes) -> bool:
    """Whether a body holds an array of events, not one event."""
    return body.lstrip(_SPACE).startswith(b"[")


def split_events(body: bytes) -> list[bytes]:
    """The JSON text of each event of a body, which holds one event or an array of up to MAX_EVENTS.

    The events themselves are judged by the contract, not here.

    Raises:
        Refusal: the array cannot be told apart into events, is empty or too long.
    """
    text = body.strip(_SPACE)
    if not holds_array(text):
        return [text]
    try:
        events = [bytes(event) for event in _split(text)]
    except (msgspec.DecodeError, RecursionError):
        events = _split_leniently(text)
    if not events:
        raise _invalid(None, FailureType.SCHEMA_VIOLATION, "the array holds no event")
    if len(events) > MAX_EVENTS:
        raise _too_many()
    return events


def _split_leniently(text: bytes) -> list[bytes]:
    """Split an array in which some events are no strict JSON, so that a fault is theirs and not their neighbours'."""
    characters = text.decode("utf-8", "surrogateescape")
    events: list[bytes] = []
    position = _after_space(characters, 1)
    while len(events) <= MAX_EVENTS:
        try:
            _, end = _scan(characters, position)
        except RecursionError:
            raise _invalid(len(events), FailureType.SIZE_VIOLATION, "nested too deeply") from None
        except ValueError as error:
            raise _invalid(len(events), FailureType.MALFORMED_JSON, str(error)) from None
        events.append(characters[position:end].encode("utf-8", "surrogateescape"))
        position = _after_space(characters, end)
        separator = characters[position : position + 1]
        if separator == "]" and position + 1 == len(characters):
            return events
        if separator != ",":
            reason = f"expected ',' or the array's end at character {position}"
            raise _invalid(len(events) - 1, FailureType.MALFORMED_JSON, reason)
        position = _after_space(characters, position + 1)
    raise _too_many()


def _after_space(characters: str, position: int) -> int:
    space = _space(characters, position)
    return position if space is None else space.end()


def _gunzip(body: bytes) -> bytes:
    decompressor = zlib.decompressobj(wbits=31)
    try:
        content = decompressor.decompress(body, MAX_BODY_BYTES + 1)
    except zlib.error as error:
        raise Refusal("malformed-request", f"the body is not gzip: {error}") from None
    if len(content) > MAX_BODY_BYTES:
        raise Refusal("too-large", f"the body is larger than {MAX_BODY_BYTES:,} bytes once decompressed")
    if not decompressor.eof or decompressor.unused_data:
        raise Refusal("malformed-request", "the body is not exactly one whole gzip member")
    return content


def _too_large() -> Refusal:
    return Refusal("too-large", f"the body is larger than {MAX_BODY_BYTES:,} bytes", headers=_CLOSE)


def _too_many() -> Refusal:
    return Refusal("too-large", f"more than {MAX_EVENTS} events in one request")


def _invalid(index: int | None, type_: FailureType, reason: str) -> Refusal:
    return invalid_events([RefusedEvent(index, [Fault(type_, "", reason)])])
