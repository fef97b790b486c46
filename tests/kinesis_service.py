"""The emulator's Kinesis, brought closer to the service where readers can tell the two apart.

The emulator numbers the records of a shard from one, loses some when two clients put at once, moves a shard's records
to its children when it is split or merged, goes on putting to the closed parent, and never says that a shard has ended.
"""

import itertools
import time
from collections import OrderedDict, defaultdict
from threading import RLock
from typing import Any

import pytest
from moto.core.exceptions import JsonRESTError
from moto.kinesis import models
from moto.kinesis.utils import compose_shard_iterator, decompose_shard_iterator

_FIRST_NUMBER = 49 * 10**54
_MOST_READS = 5
_READ_BYTES = 2_000_000


def be_the_service(patch: pytest.MonkeyPatch) -> None:
    """Number, keep and end shards as the service does, as long as the patch lasts."""
    lock, numbers = RLock(), itertools.count(_FIRST_NUMBER)
    split_shard, merge_shards = models.Stream.split_shard, models.Stream.merge_shards

    def put_record(shard: Any, partition_key: str, data: str, explicit_hash_key: str) -> str:
        number = next(numbers)
        shard.records[number] = models.Record(partition_key, data, number, explicit_hash_key)
        return str(number)

    def put_records(backend: Any, *arguments: Any) -> Any:
        with lock:
            return _put_records(backend, *arguments)

    def get_shard_for_key(stream: Any, partition_key: str, explicit_hash_key: str | None) -> Any:
        key = int(
            explicit_hash_key or models.md5_hash(partition_key.encode()).hexdigest(), 10 if explicit_hash_key else 16
        )
        return next(s for s in stream.shards.values() if s.is_open and s.starting_hash <= key <= s.ending_hash)

    def get_records(backend: Any, stream_arn: str | None, iterator: str, limit: int | None) -> tuple[Any, ...]:
        name, shard_id, last = decompose_shard_iterator(iterator)
        shard = backend.describe_stream(stream_arn=stream_arn, stream_name=name).get_shard(shard_id)
        with lock:
            records, last_read, behind = shard.get_records(last, limit)
            ended = not shard.is_open and int(last_read) >= shard.get_max_sequence_number()
        return None if ended else compose_shard_iterator(name, shard, last_read), records, behind

    def keeping_records(reshard: Any) -> Any:
        def resharded(stream: Any, first: str, second: str) -> None:
            with lock:
                parents = [shard for shard_id in (first, second) if (shard := stream.shards.get(shard_id))]
                records = [shard.records for shard in parents]
                for shard in parents:
                    shard.records = OrderedDict()
                reshard(stream, first, second)
                for shard, kept in zip(parents, records, strict=True):
                    shard.records = kept

        return resharded

    _put_records = models.KinesisBackend.put_records
    patch.setattr(models.Shard, "put_record", put_record)
    patch.setattr(models.KinesisBackend, "put_records", put_records)
    patch.setattr(models.KinesisBackend, "get_records", get_records)
    patch.setattr(models.Stream, "get_shard_for_key", get_shard_for_key)
    patch.setattr(models.Stream, "split_shard", keeping_records(split_shard))
    patch.setattr(models.Stream, "merge_shards", keeping_records(merge_shards))


def limit_reads(patch: pytest.MonkeyPatch) -> list[str]:
    """Throttle who reads a shard as the service does: five reads and 2 MB a second, and after more in one read, until
    that time has passed. Returns the shards of the reads that were throttled, in order, as they come."""
    limits, throttled, lock = defaultdict[str, _Limit](_Limit), list[str](), RLock()
    unlimited = models.KinesisBackend.get_records

    def get_records(backend: Any, stream_arn: str | None, iterator: str, limit: int | None) -> tuple[Any, ...]:
        name, shard, _ = decompose_shard_iterator(iterator)
        with lock:
            if not limits[f"{name}/{shard}"].takes(time.monotonic()):
                throttled.append(shard)
                raise JsonRESTError("ProvisionedThroughputExceededException", f"Rate exceeded for shard {shard}")
            answer = unlimited(backend, stream_arn, iterator, limit)
            limits[f"{name}/{shard}"].bytes += sum(len(record.data) * 3 // 4 for record in answer[1])
            return answer

    patch.setattr(models.KinesisBackend, "get_records", get_records)
    return throttled


class _Limit:
    """What of a shard's limits the reads of this second have used; bytes beyond them are paid for in those to come."""

    def __init__(self) -> None:
        self.bytes = 0
        self._reads = 0
        self._second = 0

    def takes(self, now: float) -> bool:
        passed, self._second = int(now) - self._second, int(now)
        if passed:
            self._reads = 0
            self.bytes = max(0, self.bytes - passed * _READ_BYTES)
        if self._reads == _MOST_READS or self.bytes >= _READ_BYTES:
            return False
        self._reads += 1
        return True
