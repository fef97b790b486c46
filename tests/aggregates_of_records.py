"""Aggregates as Amazon's producer library sends them, packed by protobuf's own library."""

from collections.abc import Sequence
from hashlib import md5
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

MAGIC = b"\xf3\x89\x9a\xc2"

_STRING, _BYTES, _UINT64, _MESSAGE = 9, 12, 4, 11
_OPTIONAL, _REQUIRED, _REPEATED = 1, 2, 3


def aggregate(records: Sequence[tuple[str, bytes]], hash_key: str | None = None, tag: str | None = None) -> bytes:
    """Pairs of partition key and data as one record of Kinesis."""
    keys = list(dict.fromkeys(key for key, _ in records))
    message = _AggregatedRecord(partition_key_table=keys)
    if hash_key:
        message.explicit_hash_key_table.append(hash_key)
    for key, data in records:
        record = message.records.add(partition_key_index=keys.index(key), data=data)
        if hash_key:
            record.explicit_hash_key_index = 0
        if tag:
            record.tags.add(key=tag)
    packed: bytes = message.SerializeToString()
    return digested(packed)


def digested(message: bytes) -> bytes:
    """A message between what marks an aggregate and what vouches for it."""
    return MAGIC + message + md5(message, usedforsecurity=False).digest()


def _message_class() -> Any:
    file = descriptor_pb2.FileDescriptorProto(name="aggregate.proto", package="kpl", syntax="proto2")
    fields = {
        "AggregatedRecord": [
            ("partition_key_table", _REPEATED, _STRING, ""),
            ("explicit_hash_key_table", _REPEATED, _STRING, ""),
            ("records", _REPEATED, _MESSAGE, ".kpl.Record"),
        ],
        "Record": [
            ("partition_key_index", _REQUIRED, _UINT64, ""),
            ("explicit_hash_key_index", _OPTIONAL, _UINT64, ""),
            ("data", _REQUIRED, _BYTES, ""),
            ("tags", _REPEATED, _MESSAGE, ".kpl.Tag"),
        ],
        "Tag": [("key", _REQUIRED, _STRING, ""), ("value", _OPTIONAL, _STRING, "")],
    }
    for name, members in fields.items():
        message = file.message_type.add(name=name)
        for number, (member, label, kind, of) in enumerate(members, 1):
            message.field.add(name=member, number=number, label=label, type=kind, type_name=of or None)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("kpl.AggregatedRecord"))


_AggregatedRecord = _message_class()
