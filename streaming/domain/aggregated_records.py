"""Kinesis records in which a producer library packed many user records.

    F3 89 9A C2 | AggregatedRecord in protobuf | MD5 of the message

    message AggregatedRecord { repeated string partition_key_table = 1;      message Record {
                               repeated string explicit_hash_key_table = 2;    required uint64 partition_key_index = 1;
                               repeated Record records = 3; }                  required bytes data = 3; }

Every user record is kept. Amazon's client library drops those whose hash key a reshard has moved to another shard, for
its producer sends them again; others do not, and a copy costs nothing where records have identities.
"""

from collections.abc import Iterator
from hashlib import md5
from typing import NamedTuple

_MAGIC = b"\xf3\x89\x9a\xc2"
_DIGEST_BYTES = 16
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_FIXED_BYTES = {_FIXED64: 8, _FIXED32: 4}


class UserRecord(NamedTuple):
    """What a producer put, before it was packed."""

    partition_key: str
    data: bytes


def deaggregate(data: bytes) -> list[UserRecord] | None:
    """The user records of an aggregate, in order; None for any other bytes, such as a damaged aggregate."""
    message, digest = data[len(_MAGIC) : -_DIGEST_BYTES], data[-_DIGEST_BYTES:]
    if not data.startswith(_MAGIC) or md5(message, usedforsecurity=False).digest() != digest:
        return None
    try:
        return _user_records(message)
    except (ValueError, LookupError):
        return None


def _user_records(message: bytes) -> list[UserRecord]:
    keys: list[str] = []
    packed: list[bytes] = []
    for number, value in _fields(message):
        if number == 1:
            keys.append(_bytes(value).decode())
        elif number == 3:
            packed.append(_bytes(value))
    return [_user_record(keys, fields) for fields in map(dict, map(_fields, packed))]


def _user_record(keys: list[str], fields: dict[int, int | bytes]) -> UserRecord:
    index = fields[1]
    if not isinstance(index, int):
        raise ValueError("a key's index is a number")
    return UserRecord(keys[index], _bytes(fields[3]))


def _bytes(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise ValueError("a number where bytes belong")
    return value


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """The fields of a protobuf message: number and value; of fixed width, as bytes."""
    position = 0
    while position < len(message):
        tag, position = _varint(message, position)
        kind = tag & 7
        if kind == _VARINT:
            value, position = _varint(message, position)
            yield tag >> 3, value
            continue
        if kind == _BYTES:
            size, position = _varint(message, position)
        elif kind in _FIXED_BYTES:
            size = _FIXED_BYTES[kind]
        else:
            raise ValueError("a wire type that protobuf no longer has")
        if position + size > len(message):
            raise ValueError("the message ends within a field")
        yield tag >> 3, message[position : position + size]
        position += size


def _varint(message: bytes, position: int) -> tuple[int, int]:
    """The number at a position, and where it ends."""
    value = shift = 0
    while shift < 64:
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
    raise ValueError("a number of more than 64 bits")
