"""What is asked of Redshift's Data API and of Athena, word for word, by botocore's models of both."""

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from botocore.stub import Stubber

from resources.aws import statements as remote_statements
from resources.aws.athena import Athena
from resources.aws.redshift import RedshiftData
from resources.aws.statements import StatementError, request_token

ID = "d1fc8e4f-2b6a-4b6e-9a43-0e4a3b1c2d3e"
SQL = "SELECT 1 AS one"


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_statements, "FIRST_PAUSE_SECONDS", 0.0)
    for name, value in {"REGION": "eu-west-1", "ACCESS_KEY_ID": "test", "SECRET_ACCESS_KEY": "test"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)


@pytest.fixture
def redshift() -> Iterator[tuple[RedshiftData, Stubber]]:
    data = RedshiftData("clickstream-dev", "run-1", 60)
    with Stubber(data._api) as stub:
        yield data, stub
        stub.assert_no_pending_responses()


@pytest.fixture
def athena() -> Iterator[tuple[Athena, Stubber]]:
    athena = Athena("clickstream-dev", "clickstream_dev", "run-1", 60)
    with Stubber(athena._api) as stub:
        yield athena, stub
        stub.assert_no_pending_responses()


def executed(stub: Stubber, sql: str, *statuses: dict[str, object]) -> None:
    expected = {"WorkgroupName": "clickstream-dev", "Database": "clickstream", "Sql": sql}
    stub.add_response("execute_statement", {"Id": ID}, expected | {"ClientToken": request_token("run-1", sql)})
    for status in statuses:
        stub.add_response("describe_statement", {"Id": ID, **status}, {"Id": ID})


def test_the_data_api_is_asked_until_the_end_and_for_every_page(redshift: tuple[RedshiftData, Stubber]) -> None:
    data, stub = redshift
    executed(stub, SQL, {"Status": "SUBMITTED"}, {"Status": "STARTED"}, {"Status": "FINISHED", "ResultRows": 2})
    row = [{"longValue": 1}, {"isNull": True}, {"stringValue": "a"}]
    stub.add_response("get_statement_result", {"Records": [row], "NextToken": "next"}, {"Id": ID})
    stub.add_response("get_statement_result", {"Records": [row]}, {"Id": ID, "NextToken": "next"})
    assert list(data.rows(SQL)) == [(1, None, "a")] * 2


def test_a_statement_that_redshift_aborts_has_failed(redshift: tuple[RedshiftData, Stubber]) -> None:
    data, stub = redshift
    executed(stub, SQL, {"Status": "ABORTED"})
    with pytest.raises(StatementError, match="Redshift: aborted\nSELECT 1"):
        data.run(SQL)


def test_what_the_data_api_refuses_is_told_with_the_statement(redshift: tuple[RedshiftData, Stubber]) -> None:
    data, stub = redshift
    stub.add_client_error("execute_statement", "ValidationException", "no such workgroup")
    with pytest.raises(StatementError, match=r"no such workgroup\nSELECT 1"):
        data.run(SQL)


def test_a_poll_that_is_refused_cancels_the_statement(redshift: tuple[RedshiftData, Stubber]) -> None:
    data, stub = redshift
    executed(stub, SQL)
    stub.add_client_error("describe_statement", "AccessDeniedException")
    stub.add_response("cancel_statement", {"Status": True}, {"Id": ID})
    with pytest.raises(data._api.exceptions.ClientError, match="AccessDenied"):
        data.run(SQL)


def started(stub: Stubber, *states: str) -> None:
    context = {"Catalog": "AwsDataCatalog", "Database": "clickstream_dev"}
    token = request_token("run-1", SQL)
    expected = {"QueryString": SQL, "QueryExecutionContext": context, "WorkGroup": "clickstream-dev"}
    stub.add_response("start_query_execution", {"QueryExecutionId": ID}, expected | {"ClientRequestToken": token})
    for state in states:
        status = {"State": state, "SubmissionDateTime": datetime.now(UTC)}
        stub.add_response(
            "get_query_execution",
            {"QueryExecution": {"QueryExecutionId": ID, "Status": status}},
            {"QueryExecutionId": ID},
        )


def test_athena_is_asked_until_the_end(athena: tuple[Athena, Stubber]) -> None:
    engine, stub = athena
    started(stub, "QUEUED", "RUNNING", "SUCCEEDED")
    assert engine.run(SQL)["QueryExecutionId"] == ID


def test_a_statement_that_somebody_stopped_has_failed(athena: tuple[Athena, Stubber]) -> None:
    engine, stub = athena
    started(stub, "CANCELLED")
    with pytest.raises(StatementError, match="Athena: cancelled"):
        engine.run(SQL)


def test_what_athena_refuses_is_told_with_the_statement(athena: tuple[Athena, Stubber]) -> None:
    engine, stub = athena
    stub.add_client_error("start_query_execution", "InvalidRequestException", "line 1:8: mismatched input")
    with pytest.raises(StatementError, match=r"mismatched input\nSELECT 1"):
        engine.run(SQL)


def test_tokens_are_as_long_as_both_services_take_them_and_tell_requests_apart() -> None:
    tokens = {
        request_token("run", "a"),
        request_token("run", "b"),
        request_token("runa", ""),
        request_token("", "runa"),
    }
    assert {len(token) for token in tokens} == {64}
    assert len(tokens) == 4
