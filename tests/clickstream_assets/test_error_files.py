"""Error files, by whomever they were written."""

import gzip
from collections.abc import Callable
from pathlib import Path

import msgspec
import pyarrow.parquet as pq
import pytest

from clickstream_assets.failed.errors import collect_failures
from resources.lake import DirectoryLake
from streaming.domain.layout import hour_of, hour_prefix
from tests.clickstream_assets.conftest import NOW

HOUR = hour_of(NOW)


@pytest.mark.parametrize("written", [bytes, gzip.compress], ids=["as Firehose leaves them", "compressed"])
def test_failures_are_read_compressed_or_not(
    written: Callable[[bytes], bytes], lake: DirectoryLake, tmp_path: Path
) -> None:
    line = {
        "attemptsMade": 4,
        "arrivalTimestamp": int(NOW.timestamp() * 1000),
        "errorCode": "Lambda.FunctionTimedOut",
        "errorMessage": "The Lambda function was successfully invoked but it timed out.",
        "attemptEndingTimestamp": int(NOW.timestamp() * 1000) + 9_000,
        "rawData": "eyJiYWQiOiAxfQ==",
        "lambdaArn": "arn:aws:lambda:us-east-1:123456789012:function:clickstream-enrichment:$LATEST",
    }
    lines = b"".join(msgspec.json.encode(line) + b"\n" for _ in range(2))
    lake.publish(f"{hour_prefix('failed/processing-failed', HOUR)}/clickstream-events-1", written(lines))

    (file,) = collect_failures(HOUR, lake, tmp_path / "failures.parquet")

    rows = pq.read_table(file).to_pylist()
    assert [(row["stage"], row["error_code"], row["raw_data"]) for row in rows] == [
        ("processing-failed", "Lambda.FunctionTimedOut", b'{"bad": 1}')
    ] * 2
