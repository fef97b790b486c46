"""Why an event failed: data, not exceptions."""

from enum import StrEnum
from typing import NamedTuple


class FailureType(StrEnum):
    """The kinds of failed events, as they stand in `failed_events.type`."""

    MALFORMED_JSON = "malformed_json"
    SCHEMA_VIOLATION = "schema_violation"
    SIZE_VIOLATION = "size_violation"
    TIMESTAMP_OUT_OF_RANGE = "timestamp_out_of_range"
    PROCESSING_FAILED = "processing_failed"


# The Lambdas that read the stream beside delivery: what fails in one of them is delivered all the same.
CONSUMER_STAGES = ("last_access", "high_intent")


class Fault(NamedTuple):
    """One fault of one event. `field` is a JSON Pointer into the event, empty for the event as a whole."""

    type: FailureType
    field: str
    reason: str
