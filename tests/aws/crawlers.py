"""Crawlers that finish, in front of an emulator whose crawlers do not.

A crawl writes what it finds of a prefix to a table `crawled_…`, as Glue's does: of Parquet the columns of a footer, of
JSON the keys of the event that the classifier shows it.
"""

import gzip
import io
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from threading import Lock
from typing import Any

import boto3
import pyarrow as pa
import pyarrow.parquet as pq

from tests.aws_proxy import Answer, Forward, Request

PREFIXES = {"raw": ["raw"], "landing": ["enriched_landing"]}
_JSON_TYPES = {str: "string", int: "int", float: "double", bool: "boolean", type(None): "string"}
_ARROW_TYPES = {pa.string(): "string", pa.int64(): "bigint", pa.float64(): "double", pa.timestamp("us"): "timestamp"}


class FinishingCrawlers:
    """A fault for `AwsProxy`: StartCrawler crawls at once, GetCrawler tells of it, all else is the emulator's.

    `crawls` are the names of those that ran, in order.
    """

    def __init__(self, stack: str, bucket: str) -> None:
        self._stack = stack
        self._bucket = bucket
        self._last: dict[str, float] = {}
        self._running: set[str] = set()
        self._starting = Lock()

    @property
    def crawls(self) -> list[str]:
        return list(self._last)

    def __call__(self, request: Request, forward: Forward) -> Answer:
        if request.operation == "StartCrawler":
            name = json.loads(request.body)["Name"]
            with self._starting:
                if name in self._running:
                    return _json({"__type": "CrawlerRunningException", "Message": f"{name} is running"}, 400)
                self._running.add(name)
            try:
                self._crawl(name.removeprefix(f"{self._stack}-"))
                self._last[name] = datetime.now(UTC).timestamp()
            finally:
                self._running.remove(name)
            return _json({})
        if request.operation == "GetCrawler":
            name = json.loads(request.body)["Name"]
            last = {"LastCrawl": {"Status": "SUCCEEDED", "StartTime": self._last[name]}} if name in self._last else {}
            state = "RUNNING" if name in self._running else "READY"
            return _json({"Crawler": {"Name": name, "State": state, **last}})
        return forward(request)

    def _crawl(self, role: str) -> None:
        s3, glue = boto3.client("s3"), boto3.client("glue")
        for prefix in PREFIXES[role]:
            listed = s3.list_objects_v2(Bucket=self._bucket, Prefix=f"{prefix}/").get("Contents", [])
            columns: dict[str, str] = {}
            for each in listed:
                columns |= _columns(each["Key"], s3.get_object(Bucket=self._bucket, Key=each["Key"])["Body"].read())
            if columns:
                table = {
                    "Name": f"crawled_{prefix}",
                    "Parameters": {"objectCount": str(len(listed))},
                    "StorageDescriptor": {
                        "Location": f"s3://{self._bucket}/{prefix}/",
                        "Columns": [{"Name": name, "Type": type_} for name, type_ in columns.items()],
                    },
                }
                database = self._stack.replace("-", "_")
                try:
                    glue.create_table(DatabaseName=database, TableInput=table)
                except glue.exceptions.AlreadyExistsException:
                    glue.update_table(DatabaseName=database, TableInput=table)


def _columns(key: str, data: bytes) -> dict[str, str]:
    if key.endswith(".parquet"):
        return {field.name: _of_arrow(field.type) for field in pq.read_schema(io.BytesIO(data))}
    events = (json.loads(line).get("event") for line in gzip.decompress(data).splitlines())
    found: dict[str, str] = {}
    for event in events:
        if isinstance(event, dict):
            found |= {name: _of_json(value) for name, value in event.items() if value is not None}
    return found


def _of_arrow(type_: pa.DataType) -> str:
    if pa.types.is_struct(type_):
        return f"struct<{','.join(f'{field.name}:{_of_arrow(field.type)}' for field in type_)}>"
    if pa.types.is_decimal(type_):
        return f"decimal({type_.precision},{type_.scale})"
    return _ARROW_TYPES[type_]


def _of_json(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"struct<{','.join(f'{name}:{_of_json(member)}' for name, member in value.items())}>"
    return (
        f"array<{_of_json(value[0])}>" if isinstance(value, list) and value else _JSON_TYPES.get(type(value), "string")
    )


def _json(body: dict[str, Any], status: int = 200) -> Answer:
    return Answer(status, {"content-type": "application/x-amz-json-1.1"}, json.dumps(body).encode())
