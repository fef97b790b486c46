"""A transform's answers: every record has an outcome, whatever comes back."""

import base64
from threading import Event

import orjson
import pytest

from streaming.edges.error_output import Failure
from streaming.runtime.lambda_host import LambdaHost
from streaming.runtime.transform import Transform


def ok(record, data=b"row\n"):
    return {"recordId": record["recordId"], "result": "Ok", "data": base64.b64encode(data).decode()}


def outcomes(handler, records, request_bytes=1_000_000, timeout_seconds=5.0):
    function = LambdaHost("probe", handler, timeout_seconds)
    return Transform(function, "events", request_bytes).outcomes("shard", records, Event())


def test_lines_come_back_in_the_order_of_the_records(records):
    def reverse(event, context):
        return {"records": [ok(r, base64.b64decode(r["data"]).upper()) for r in reversed(event["records"])]}

    assert outcomes(reverse, records(b"a", b"b", b"c")) == [b"A", b"B", b"C"]


def test_the_event_is_firehoses(records):
    seen = []

    def handler(event, context):
        seen.append(event)
        return {"records": [ok(record) for record in event["records"]]}

    [record] = records(b"data")
    outcomes(handler, [record])

    [event] = seen
    assert event.keys() == {"invocationId", "deliveryStreamArn", "sourceKinesisStreamArn", "region", "records"}
    [entry] = event["records"]
    assert base64.b64decode(entry["data"]) == b"data"
    assert entry["approximateArrivalTimestamp"] == record.arrival.timestamp() * 1000
    assert entry["kinesisRecordMetadata"] == {
        "sequenceNumber": record.sequence_number,
        "subsequenceNumber": 0,
        "partitionKey": "user",
        "shardId": "shard",
        "approximateArrivalTimestamp": entry["approximateArrivalTimestamp"],
    }


def test_requests_stay_below_their_bound(records):
    sizes = []

    def handler(event, context):
        sizes.append(len(orjson.dumps(event)))
        return {"records": [ok(record) for record in event["records"]]}

    assert len(outcomes(handler, records(*[b"x" * 300] * 1000), request_bytes=100_000)) == 1000
    assert max(sizes) <= 100_000
    assert min(sizes[:-1]) > 85_000


def test_keys_that_have_to_be_escaped_count_as_such(records):
    sizes = []

    def handler(event, context):
        sizes.append(len(orjson.dumps(event)))
        return {"records": [ok(record) for record in event["records"]]}

    odd = [record._replace(partition_key="\x01" * 200) for record in records(*[b"x"] * 100)]
    outcomes(handler, odd, request_bytes=10_000)

    assert max(sizes) <= 10_000


def test_a_record_larger_than_the_bound_goes_alone(records):
    sizes = []

    def handler(event, context):
        sizes.append(len(event["records"]))
        return {"records": [ok(record) for record in event["records"]]}

    outcomes(handler, records(b"a", b"x" * 5000, b"b"), request_bytes=2000)
    assert sizes == [1, 1, 1]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda row: [], "Lambda.MissingRecordId"),
        (lambda row: [row, row], "Lambda.DuplicatedRecordId"),
        (lambda row: [{**row, "recordId": "unknown"}], "Lambda.MissingRecordId"),
        (lambda row: [{**row, "result": "ProcessingFailed"}], "Lambda.ProcessingFailedStatus"),
        (lambda row: [{**row, "result": "OK"}], "Lambda.JsonProcessingException"),
        (lambda row: [{"recordId": row["recordId"]}], "Lambda.JsonProcessingException"),
        (lambda row: [{**row, "data": "*"}], "Lambda.JsonProcessingException"),
        (lambda row: [{**row, "data": None}], "Lambda.JsonProcessingException"),
    ],
)
def test_an_odd_row_costs_only_its_record(records, change, code):
    def handler(event, context):
        first, second, third = map(ok, event["records"])
        return {"records": [first, *change(second), third]}

    first, second, third = outcomes(handler, records(b"1", b"2", b"3"))

    assert (first, third) == (b"row\n", b"row\n")
    assert (second.code, second.attempts) == (code, 1)


def test_a_row_that_was_not_asked_for_is_no_harm(records):
    def handler(event, context):
        return {"records": [ok({"recordId": "unknown"}), *map(ok, event["records"])]}

    assert outcomes(handler, records(b"1")) == [b"row\n"]


def test_a_dropped_record_is_no_failure(records):
    def handler(event, context):
        return {"records": [{**ok(record), "result": "Dropped"} for record in event["records"]]}

    assert outcomes(handler, records(b"1")) == [None]


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (None, "Lambda.JsonProcessingException"),
        ({}, "Lambda.JsonProcessingException"),
        ({"records": None}, "Lambda.JsonProcessingException"),
        ({"records": [{"result": "Ok"}]}, "Lambda.JsonProcessingException"),
        ({"records": ["a"]}, "Lambda.JsonProcessingException"),
        ({"records": [{"recordId": []}]}, "Lambda.JsonProcessingException"),
        ({"records": "x" * 7_000_000}, "Lambda.ResponseTooLarge"),
        ({"records": b""}, "Lambda.FunctionError"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_an_unusable_answer_fails_the_batch_after_three_retries(records, answer, code):
    calls = []

    def handler(event, context):
        calls.append(event["invocationId"])
        return answer

    found = outcomes(handler, records(b"1", b"2"))

    assert [(failure.code, failure.attempts) for failure in found] == [(code, 4)] * 2
    assert len(calls) == 4
    assert len(set(calls)) == 1


def test_a_timeout_fails_the_batch(records):
    import time

    [failure] = outcomes(lambda event, context: time.sleep(0.3), records(b"1"), timeout_seconds=0.05)

    assert isinstance(failure, Failure)
    assert failure.code == "Lambda.FunctionTimedOut"


def test_a_failure_that_passes_costs_nothing(records):
    calls = []

    def handler(event, context):
        calls.append(1)
        if len(calls) < 3:
            raise ConnectionError
        return {"records": [ok(record) for record in event["records"]]}

    assert outcomes(handler, records(b"1")) == [b"row\n"]
