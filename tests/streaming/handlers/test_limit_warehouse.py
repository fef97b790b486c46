"""The warehouse's monthly limit, against the service's model."""

from collections.abc import Iterator
from typing import Any

import botocore.session
import pytest
from botocore.stub import Stubber

from streaming.handlers import limit_warehouse
from tests.streaming.cloudformation import CloudFormation

WORKGROUP = "arn:aws:redshift-serverless:eu-central-1:123456789012:workgroup/a1b2"
ASKED = {"resourceArn": WORKGROUP, "usageType": "serverless-compute"}
KNOWN = {"usageLimitId": "limit-1", "resourceArn": WORKGROUP, "usageType": "serverless-compute", "amount": 50}
PROPERTIES = {"WorkgroupArn": WORKGROUP, "RpuHours": "100"}


@pytest.fixture
def redshift(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stubber]:
    """A client that answers as told, and wants every call that it is told of."""
    client: Any = botocore.session.get_session().create_client(
        "redshift-serverless", region_name="eu-central-1", aws_access_key_id="test", aws_secret_access_key="test"
    )
    monkeypatch.setattr(limit_warehouse, "client", lambda service: client)
    with Stubber(client) as stubber:
        yield stubber
        stubber.assert_no_pending_responses()


@pytest.mark.parametrize("request_type", ["Create", "Update"])
def test_a_limit_is_made(redshift: Stubber, cloudformation: CloudFormation, request_type: str) -> None:
    redshift.add_response("list_usage_limits", {}, ASKED)
    made = {"amount": 100, "period": "monthly", "breachAction": "deactivate"}
    redshift.add_response("create_usage_limit", {}, ASKED | made)
    limit_warehouse.lambda_handler(cloudformation.event(request_type, PROPERTIES), None)
    assert cloudformation.answers[-1]["Status"] == "SUCCESS"


def test_a_limit_that_is_there_is_changed(redshift: Stubber, cloudformation: CloudFormation) -> None:
    redshift.add_response("list_usage_limits", {"usageLimits": [KNOWN]}, ASKED)
    changed = {"usageLimitId": "limit-1", "amount": 100, "breachAction": "deactivate"}
    redshift.add_response("update_usage_limit", {}, changed)
    limit_warehouse.lambda_handler(cloudformation.event("Create", PROPERTIES), None)
    assert cloudformation.answers[-1]["Status"] == "SUCCESS"


def test_it_goes_with_the_stack(redshift: Stubber, cloudformation: CloudFormation) -> None:
    redshift.add_response("list_usage_limits", {"usageLimits": [KNOWN]}, ASKED)
    redshift.add_response("delete_usage_limit", {}, {"usageLimitId": "limit-1"})
    limit_warehouse.lambda_handler(cloudformation.event("Delete", PROPERTIES), None)
    assert cloudformation.answers[-1]["Status"] == "SUCCESS"


def test_cloudformation_is_told_what_the_service_says(redshift: Stubber, cloudformation: CloudFormation) -> None:
    redshift.add_client_error("list_usage_limits", "AccessDeniedException", "not for you")
    limit_warehouse.lambda_handler(cloudformation.event("Create", PROPERTIES), None)
    assert cloudformation.answers[-1]["Status"] == "FAILED"
    assert "not for you" in cloudformation.answers[-1]["Reason"]
