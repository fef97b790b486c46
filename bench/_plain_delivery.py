"""Delivery as an ordinary person writes it, to compare with: json, one dictionary a record, pyarrow's from_pylist.

It does the same work for the same files: a raw copy, names and places from Redis (asked once a batch), Parquet.
"""

import gzip
import json
import sys
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import redis

from streaming.domain.tables import ENRICHED_LANDING
from streaming.edges.parquet import arrow_schema

BUFFER_BYTES = 3_000_000


def deliver(stream_url: str, cache_url: str, lake: Path, events: int) -> None:
    """Deliver `events` records of every shard."""
    stream, cache = redis.Redis.from_url(stream_url), redis.Redis.from_url(cache_url, decode_responses=True)
    schema = arrow_schema(ENRICHED_LANDING)
    positions: dict[Any, Any] = dict.fromkeys(stream.keys("events:shardId-????????????"), "0")
    done, files = 0, 0
    while done < events:
        for key, start in positions.items():
            position = start
            lines: list[bytes] = []
            rows: list[dict[str, Any]] = []
            while sum(map(len, lines)) < BUFFER_BYTES:
                found: Any = stream.xread({key: position}, count=500)
                if not found:
                    break
                entries = found[0][1]
                position = entries[-1][0]
                lines += [fields[b"d"] for _, fields in entries]
                rows += enriched([json.loads(fields[b"d"]) for _, fields in entries], cache)
            positions[key] = position
            if rows:
                (lake / f"{files}.json.gz").write_bytes(gzip.compress(b"".join(lines)))
                pq.write_table(pa.Table.from_pylist(rows, schema=schema), lake / f"{files}.parquet")
                files += 1
                done += len(rows)


def enriched(envelopes: list[dict[str, Any]], cache: redis.Redis) -> list[dict[str, Any]]:
    """The rows of a batch."""
    with cache.pipeline(transaction=False) as pipe:
        for envelope in envelopes:
            pipe.hget(f"user:{envelope['event']['user_id']}", "name")
            pipe.get(f"geo:{envelope['event']['user_ip']}")
        answers = pipe.execute()
    rows = []
    for envelope, name, place in zip(envelopes, answers[::2], answers[1::2], strict=True):
        event = envelope["event"]
        row = {**event, **json.loads(place or "{}"), "name": name, "record_id": envelope["record_id"]}
        row["arrival_timestamp"] = datetime.fromisoformat(envelope["arrival_timestamp"]).replace(tzinfo=None)
        row["timestamp"] = datetime.fromisoformat(event["timestamp"])
        row["insertion_timestamp"] = datetime.fromisoformat(event["insertion_timestamp"])
        row["additional_data"] = {
            **event["additional_data"],
            "price": Decimal(str(event["additional_data"]["price"])).quantize(Decimal("0.01")),
        }
        rows.append(row)
    return rows


if __name__ == "__main__":
    deliver(sys.argv[1], sys.argv[2], Path(sys.argv[3]), int(sys.argv[4]))
