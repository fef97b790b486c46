"""CloudFormation is always told, once, in the form it takes."""

import pytest

from streaming.edges.custom_resource import answering
from tests.streaming.cloudformation import CloudFormation


def test_an_answer_names_the_request_and_the_resource(cloudformation: CloudFormation) -> None:
    event = cloudformation.event("Update", {}, PhysicalResourceId="made-before")
    with answering(event):
        pass
    assert cloudformation.answers == [
        {
            **{name: event[name] for name in ("StackId", "RequestId", "LogicalResourceId")},
            "Status": "SUCCESS",
            "Reason": "",
            "PhysicalResourceId": "made-before",
        }
    ]


def test_a_long_reason_is_cut_to_what_an_answer_may_have(cloudformation: CloudFormation) -> None:
    with answering(cloudformation.event("Create", {})):
        raise ValueError("x" * 10_000)
    (answer,) = cloudformation.answers
    assert answer["Status"] == "FAILED"
    assert len(answer["Reason"]) < 4_000
    assert answer["PhysicalResourceId"] == "Customers"


def test_who_cannot_tell_fails(cloudformation: CloudFormation) -> None:
    event = cloudformation.event("Create", {}) | {"ResponseURL": "http://127.0.0.1:9/nobody"}
    with pytest.raises(OSError, match="refused"), answering(event):
        pass
    assert cloudformation.answers == []
