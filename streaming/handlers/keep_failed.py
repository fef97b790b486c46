"""Lambda `keep_failed`: writes a batch that an event source mapping has given up to the error files, for a replay.

Lambda leaves such a batch in the bucket, under a name of its own (`aws/lambda/<mapping>/<shard>/…`): what it knows of
the failure, and in `payload` the event that the function was last called with. S3 tells of it through EventBridge and
a queue, which brings it again until it is done: that writes the same files. A batch that cannot be read stays where it
is, and the call fails.
"""

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from functools import cache
from typing import Any

import pybase64

from streaming.domain.envelope import open_record
from streaming.domain.layout import failed_prefix, hour_of, hour_prefix
from streaming.edges.aws import client
from streaming.edges.error_output import Failure, error_line
from streaming.edges.event_stream import StreamRecord
from streaming.edges.lake import gzip_bytes
from streaming.handlers.records import user_data
from streaming.settings import load_settings

__all__ = ["error_files", "lambda_handler"]


def lambda_handler(event: Mapping[str, Any], context: object) -> dict[str, list[str]]:
    """Take what the queue holds of S3's `Object Created`; answers the files that were written."""
    created = (json.loads(message["body"])["detail"] for message in event["Records"])
    return {"files": [path for each in created for path in _keep(each["bucket"]["name"], each["object"]["key"])]}


def _keep(bucket: str, key: str) -> Iterator[str]:
    given_up = json.load(_s3().get_object(Bucket=bucket, Key=key)["Body"])
    for path, data in error_files(given_up, load_settings().stack.name).items():
        _s3().put_object(Bucket=bucket, Key=path, Body=data)
        yield path


def error_files(given_up: Mapping[str, Any], stack: str) -> dict[str, bytes]:
    """The error files of a batch by their path: its records, under the hours they arrived in."""
    request, batch = given_up["requestContext"], given_up["KinesisBatchInfo"]
    stage = request["functionArn"].split(":")[6].removeprefix(f"{stack}-").replace("-", "_")
    message = (given_up.get("responseContext") or {}).get("functionError", "the function could not be called")
    failure = Failure(request["condition"], message, request["approximateInvokeCount"])
    name = f"{batch['shardId']}-{batch['startSequenceNumber']}-{batch['endSequenceNumber']}.json.gz"
    lines: dict[datetime, list[bytes]] = {}
    payload = given_up["payload"]
    for record in _records(json.loads(payload) if isinstance(payload, str) else payload):
        hour = hour_of(open_record(record.data, record.arrival).arrival)
        lines.setdefault(hour, []).append(error_line(record, failure, request["functionArn"]))
    return {
        f"{hour_prefix(failed_prefix(stage), hour)}/{name}": gzip_bytes(b"".join(found))
        for hour, found in lines.items()
    }


def _records(event: Mapping[str, Any]) -> Iterator[StreamRecord]:
    for record in event["Records"]:
        kinesis = record["kinesis"]
        arrival = datetime.fromtimestamp(kinesis["approximateArrivalTimestamp"], UTC)
        for data in user_data(pybase64.b64decode(kinesis["data"])):
            yield StreamRecord(kinesis["sequenceNumber"], arrival, kinesis["partitionKey"], data)


@cache
def _s3() -> Any:
    return client("s3")
