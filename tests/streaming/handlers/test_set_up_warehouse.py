"""The warehouse's limit and schema, against the models of the services."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import botocore.session
import pytest
from botocore.stub import Stubber

from streaming.handlers import set_up_warehouse
from streaming.settings import ROOT
from tests.streaming.cloudformation import CloudFormation

WORKGROUP = "arn:aws:redshift-serverless:eu-central-1:123456789012:workgroup/a1b2"
SECRET = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:redshift!clickstream-administrator-a1b2c3"
PROPERTIES = {
    "Workgroup": "clickstream", "WorkgroupArn": WORKGROUP, "AdminSecret": SECRET, "Database": "shop", "RpuHours": "100",
}  # fmt: skip
SCHEMA = (ROOT / "sql" / "spectrum" / "create_external_schema.sql").read_text().replace("'clickstream'", "'shop'")
GRANT = "GRANT USAGE ON SCHEMA lake TO PUBLIC"
ASKED = {"resourceArn": WORKGROUP, "usageType": "serverless-compute"}
KNOWN = {"usageLimitId": "limit-1", "resourceArn": WORKGROUP, "usageType": "serverless-compute", "amount": 50}
MADE = ASKED | {"amount": 100, "period": "monthly", "breachAction": "deactivate"}
CHANGED = {"usageLimitId": "limit-1", "amount": 100, "breachAction": "deactivate"}


class Redshift(NamedTuple):
    """Both services; they answer as told, and want every call that they are told of."""

    serverless: Stubber
    data: Stubber

    def runs(self, statement: str, *states: dict[str, str]) -> None:
        """The statement is submitted, and is found in these states."""
        asked = {"WorkgroupName": "clickstream", "Database": "clickstream", "SecretArn": SECRET}
        self.data.add_response("execute_statement", {"Id": "a1"}, asked | {"Sql": statement})
        for state in states:
            self.data.add_response("describe_statement", {"Id": "a1", **state}, {"Id": "a1"})


@pytest.fixture
def redshift(monkeypatch: pytest.MonkeyPatch) -> Iterator[Redshift]:
    session = botocore.session.get_session()
    clients: dict[str, Any] = {
        service: session.create_client(
            service, region_name="eu-central-1", aws_access_key_id="test", aws_secret_access_key="test"
        )
        for service in ("redshift-serverless", "redshift-data")
    }
    monkeypatch.setattr(set_up_warehouse, "client", clients.__getitem__)
    monkeypatch.setattr(set_up_warehouse, "_POLL_SECONDS", 0.01)
    stubbers = Redshift(*map(Stubber, clients.values()))
    with stubbers.serverless, stubbers.data:
        yield stubbers
        for each in stubbers:
            each.assert_no_pending_responses()


@pytest.mark.parametrize("request_type", ["Create", "Update"])
def test_a_limit_is_made_and_the_lake_is_shown(
    redshift: Redshift, cloudformation: CloudFormation, request_type: str
) -> None:
    redshift.serverless.add_response("list_usage_limits", {}, ASKED)
    redshift.serverless.add_response("create_usage_limit", {}, MADE)
    redshift.runs(SCHEMA, {"Status": "SUBMITTED"}, {"Status": "STARTED"}, {"Status": "FINISHED"})
    redshift.runs(GRANT, {"Status": "FINISHED"})
    set_up_warehouse.lambda_handler(cloudformation.event(request_type, PROPERTIES), None)
    assert cloudformation.answers[-1]["Status"] == "SUCCESS"
    assert "DATABASE 'shop'\nIAM_ROLE default" in SCHEMA


def test_a_limit_that_is_there_is_changed(redshift: Redshift, cloudformation: CloudFormation) -> None:
    redshift.serverless.add_response("list_usage_limits", {"usageLimits": [KNOWN]}, ASKED)
    redshift.serverless.add_response("update_usage_limit", {}, CHANGED)
    redshift.runs(SCHEMA, {"Status": "FINISHED"})
    redshift.runs(GRANT, {"Status": "FINISHED"})
    set_up_warehouse.lambda_handler(cloudformation.event("Create", PROPERTIES), None)
    assert cloudformation.answers[-1]["Status"] == "SUCCESS"


def test_another_limit_asks_nothing_of_a_warehouse_that_has_used_its_own_up(
    redshift: Redshift, cloudformation: CloudFormation
) -> None:
    redshift.serverless.add_response("list_usage_limits", {"usageLimits": [KNOWN]}, ASKED)
    redshift.serverless.add_response("update_usage_limit", {}, CHANGED)
    event = cloudformation.event("Update", PROPERTIES) | {"OldResourceProperties": PROPERTIES | {"RpuHours": "50"}}
    set_up_warehouse.lambda_handler(event, None)
    assert cloudformation.answers[-1]["Status"] == "SUCCESS"


@pytest.mark.parametrize("name", ["Database", "Workgroup", "WorkgroupArn", "AdminSecret"])
def test_another_warehouse_is_shown_the_lake(redshift: Redshift, cloudformation: CloudFormation, name: str) -> None:
    redshift.serverless.add_response("list_usage_limits", {"usageLimits": [KNOWN]}, ASKED)
    redshift.serverless.add_response("update_usage_limit", {}, CHANGED)
    redshift.runs(SCHEMA, {"Status": "FINISHED"})
    redshift.runs(GRANT, {"Status": "FINISHED"})
    event = cloudformation.event("Update", PROPERTIES) | {"OldResourceProperties": PROPERTIES | {name: "another"}}
    set_up_warehouse.lambda_handler(event, None)
    assert cloudformation.answers[-1]["Status"] == "SUCCESS"


def test_the_limit_goes_with_the_stack(redshift: Redshift, cloudformation: CloudFormation) -> None:
    redshift.serverless.add_response("list_usage_limits", {"usageLimits": [KNOWN]}, ASKED)
    redshift.serverless.add_response("delete_usage_limit", {}, {"usageLimitId": "limit-1"})
    set_up_warehouse.lambda_handler(cloudformation.event("Delete", PROPERTIES), None)
    assert cloudformation.answers[-1]["Status"] == "SUCCESS"


def test_cloudformation_is_told_what_the_service_says(redshift: Redshift, cloudformation: CloudFormation) -> None:
    redshift.serverless.add_client_error("list_usage_limits", "AccessDeniedException", "not for you")
    set_up_warehouse.lambda_handler(cloudformation.event("Create", PROPERTIES), None)
    assert cloudformation.answers[-1]["Status"] == "FAILED"
    assert "not for you" in cloudformation.answers[-1]["Reason"]


def test_cloudformation_is_told_what_redshift_says(redshift: Redshift, cloudformation: CloudFormation) -> None:
    redshift.serverless.add_response("list_usage_limits", {"usageLimits": [KNOWN]}, ASKED)
    redshift.serverless.add_response("update_usage_limit", {}, CHANGED)
    redshift.runs(SCHEMA, {"Status": "FAILED", "Error": "permission denied for database"})
    set_up_warehouse.lambda_handler(cloudformation.event("Update", PROPERTIES), None)
    assert cloudformation.answers[-1]["Status"] == "FAILED"
    assert "CREATE EXTERNAL SCHEMA" in cloudformation.answers[-1]["Reason"]
    assert "permission denied" in cloudformation.answers[-1]["Reason"]
