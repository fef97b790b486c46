"""Records that could not be processed, kept whole: Firehose's form of an error file, one JSON object a line.

It says all that Firehose's does but when the attempts ended: what is written again has the same bytes.
"""

from typing import NamedTuple

import orjson
import pybase64

from streaming.domain.timestamps import milliseconds
from streaming.edges.event_stream import StreamRecord


class Failure(NamedTuple):
    """Why a record was not delivered; `code` as Firehose names it."""

    code: str
    message: str
    attempts: int


def error_line(record: StreamRecord, failure: Failure, lambda_arn: str) -> bytes:
    """One failed record with its bytes, and its arrival in ms since the epoch."""
    return orjson.dumps(
        {
            "attemptsMade": failure.attempts,
            "arrivalTimestamp": milliseconds(record.arrival),
            "errorCode": failure.code,
            "errorMessage": failure.message.encode(errors="replace").decode(),  # a surrogate is no JSON
            "rawData": pybase64.b64encode_as_string(record.data),
            "lambdaArn": lambda_arn,
        },
        option=orjson.OPT_APPEND_NEWLINE,
    )
