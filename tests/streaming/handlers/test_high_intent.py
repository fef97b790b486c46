import base64
import json
from collections.abc import Callable, Sequence
from typing import Any

import duckdb
import pytest

from streaming.domain.tables import HIGH_INTENT_VIEWS
from streaming.edges.event_stream import HIGH_INTENT, PutResult, ShardBatch
from streaming.edges.kinesis_stream import KinesisEventStream
from streaming.edges.streams import open_event_stream
from streaming.handlers import high_intent
from streaming.handlers.high_intent import lambda_handler, put_rows
from streaming.handlers.records import good_events
from streaming.settings import load_settings
from tests.aggregates_of_records import aggregate

Event = Callable[[str], dict[str, Any]]

pytestmark = pytest.mark.usefixtures("deployment")


class RefusingStream:
    """A stream that refuses some records a number of times."""

    name = HIGH_INTENT

    def __init__(self, refusals: dict[str, int]) -> None:
        self.refusals = refusals
        self.puts: list[list[str]] = []

    def list_shards(self) -> list[str]:
        return []

    def put_records(self, records: Sequence[tuple[str, bytes]]) -> list[PutResult]:
        keys = [key for key, _ in records]
        self.puts.append(keys)
        results = []
        for key in keys:
            left = self.refusals.get(key, 0)
            self.refusals[key] = left - 1
            results.append(PutResult(None, "StreamFull") if left > 0 else PutResult("1", None))
        return results

    def get_records(self, shard: str, after: str | None, limit: int, wait_seconds: float) -> ShardBatch:
        raise NotImplementedError


def test_views_above_sixty_percent_however_little_go_to_the_output_stream(event: Event) -> None:
    # when
    answer = lambda_handler(event("kinesis_views"), None)
    # then
    assert answer == {"batchItemFailures": []}
    output = open_event_stream(load_settings(), HIGH_INTENT)
    records = [record for shard in output.list_shards() for record in output.get_records(shard, None, 100, 0).records]
    assert {record.partition_key for record in records} == {"20"}
    rows = [json.loads(record.data) for record in records]
    assert [(row["click_id"], row["percent_viewed"], row["price"]) for row in rows] == [
        ("high", "87.50", "694.83"),
        ("quote'; DROP TABLE x; --", "60.00", "0.10"),
    ]
    assert all(tuple(row) == HIGH_INTENT_VIEWS.column_names for row in rows)
    assert rows[0]["event_timestamp"] == "2021-07-12T20:24:49.536462Z"
    assert rows[0]["record_id"] == "a" * 32


def test_only_what_was_refused_is_put_again() -> None:
    stream = RefusingStream({"b": 1})
    assert put_rows([{"user_id": "a"}, {"user_id": "b"}, {"user_id": "c"}], stream) == []
    assert stream.puts == [["a", "b", "c"], ["b"]]


def test_a_row_that_stays_refused_fails_its_record(event: Event, monkeypatch: pytest.MonkeyPatch) -> None:
    # given
    batch = event("kinesis_views")
    monkeypatch.setattr(high_intent, "_output", lambda: RefusingStream({"20": 100}))
    # when
    answer = lambda_handler(batch, None)
    # then
    assert answer == {"batchItemFailures": [{"itemIdentifier": batch["Records"][0]["kinesis"]["sequenceNumber"]}]}


def test_a_batch_without_views_puts_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = RefusingStream({})
    monkeypatch.setattr(high_intent, "_output", lambda: stream)
    assert lambda_handler({"Records": []}, None) == {"batchItemFailures": []}
    assert stream.puts == []


def test_views_of_an_aggregated_record_are_found_and_fail_with_it(
    event: Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given
    batch = event("kinesis_views")
    views = high_intent_rows(batch)
    aggregated = packed(batch)
    # when
    assert lambda_handler(aggregated, None) == {"batchItemFailures": []}
    # then
    assert output_rows() == views
    # and
    monkeypatch.setattr(high_intent, "_output", lambda: RefusingStream({"20": 100}))
    number = aggregated["Records"][0]["kinesis"]["sequenceNumber"]
    assert lambda_handler(aggregated, None) == {"batchItemFailures": [{"itemIdentifier": number}]}


def test_the_output_stream_may_be_kinesis(event: Event, kinesis: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # given
    monkeypatch.setenv("CLICKSTREAM_STREAM", "kinesis")
    monkeypatch.delenv("REDIS_URL")
    # when
    assert lambda_handler(event("kinesis_views"), None) == {"batchItemFailures": []}
    # then
    output = KinesisEventStream("clickstream-high-intent", HIGH_INTENT)
    records = [record for shard in output.list_shards() for record in output.get_records(shard, None, 100, 0).records]
    assert [json.loads(record.data)["click_id"] for record in records] == ["high", "quote'; DROP TABLE x; --"]


def high_intent_rows(batch: dict[str, Any]) -> list[str]:
    database = duckdb.connect()
    return [row["click_id"] for row in high_intent.high_intent_views(good_events(batch), database)]


def output_rows() -> list[str]:
    output = open_event_stream(load_settings(), HIGH_INTENT)
    records = [record for shard in output.list_shards() for record in output.get_records(shard, None, 100, 0).records]
    return [json.loads(record.data)["click_id"] for record in records]


def packed(batch: dict[str, Any]) -> dict[str, Any]:
    """The batch as one record that a producer library aggregated."""
    kinesis = [record["kinesis"] for record in batch["Records"]]
    data = aggregate([(each["partitionKey"], base64.b64decode(each["data"])) for each in kinesis])
    one = {**batch["Records"][0], "kinesis": {**kinesis[0], "data": base64.b64encode(data).decode()}}
    return {"Records": [one]}
