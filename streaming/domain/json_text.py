"""JSON as untrusted text: strict, bounded in depth, and without keys that stand twice."""

import json
from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec

MAX_DEPTH = 16

_decode = msgspec.json.Decoder().decode


class InvalidJsonError(ValueError):
    """The text is not JSON that any strict parser takes; the message says why."""


class TooDeepError(ValueError):
    """The text is nested deeper than MAX_DEPTH."""


def one_line(text: bytes) -> bytes:
    """The same JSON without line breaks: inside strings they are escaped, so every bare one is white space."""
    if b"\n" in text or b"\r" in text:
        return text.replace(b"\n", b" ").replace(b"\r", b" ")
    return text


def decode_strict(text: bytes) -> Any:
    """Decode JSON text into plain values.

    Raises:
        InvalidJsonError: syntax, encoding, numbers beyond a double, lone surrogates.
        TooDeepError: deeper than MAX_DEPTH.
    """
    try:
        value = _decode(text)
    except RecursionError:
        raise TooDeepError(f"nested deeper than {MAX_DEPTH} levels") from None
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise InvalidJsonError(str(error)) from None
    if text.count(b"{") + text.count(b"[") > MAX_DEPTH and _depth(value) > MAX_DEPTH:
        raise TooDeepError(f"nested deeper than {MAX_DEPTH} levels")
    return value


def decode_exact(text: bytes) -> Any:
    """Decode text that `decode_strict` took, with fractions as Decimal.

    Raises:
        InvalidJsonError: a key stands twice in one object.
    """
    return json.loads(text.decode(), parse_float=_decimal, object_pairs_hook=_unique_keys)


def is_json(text: bytes) -> bool:
    """Whether `decode_strict` takes the text."""
    try:
        decode_strict(text)
    except (InvalidJsonError, TooDeepError):
        return False
    return True


def _decimal(number: str) -> Decimal:
    try:
        return Decimal(number)
    except InvalidOperation:  # an exponent beyond Decimal's own; of the numbers that a double holds, only zero has one
        return Decimal(0)


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise InvalidJsonError(f"key {twice[:40]!r} stands twice")
    return members


def _depth(value: Any) -> int:
    depth, level = 0, [value]
    while level and depth <= MAX_DEPTH:
        containers = [v for v in level if isinstance(v, dict | list)]
        depth += bool(containers)
        level = [child for v in containers for child in (v.values() if isinstance(v, dict) else v)]
    return depth
