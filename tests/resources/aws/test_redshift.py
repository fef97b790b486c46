"""Statements through the Data API: run once, followed to their end, cancelled when nobody waits, told if they fail."""

import os
import signal
import threading

import pytest

from resources.aws import statements as remote_statements
from resources.aws.redshift import RedshiftData
from resources.aws.statements import StatementError, StatementTimeoutError
from tests.aws_standins.redshift import RedshiftData as Service


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_statements, "FIRST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr("resources.aws.redshift._BUSY_PAUSE_SECONDS", 0.01)


@pytest.fixture
def redshift(redshift_data: Service) -> RedshiftData:
    return RedshiftData("clickstream", "run", 10)


def test_rows_come_page_by_page(redshift: RedshiftData, redshift_data: Service) -> None:
    redshift_data.page_rows = 2
    rows = redshift.rows("SELECT 1, 'one' UNION ALL SELECT 2, NULL")  # a set operation is none of the stand-in's
    with pytest.raises(StatementError, match="no SELECT"):
        list(rows)
    values = "SELECT n, name FROM (VALUES (1, 'one'), (2, NULL), (3, 'three')) AS v(n, name) ORDER BY n"
    assert list(redshift.rows(values)) == [(1, "one"), (2, None), (3, "three")]
    assert redshift_data.calls.count("GetStatementResult") == 2


@pytest.mark.parametrize("fault", ["throttled", "broken", "lost"])
@pytest.mark.parametrize("operation", ["ExecuteStatement", "DescribeStatement", "GetStatementResult"])
def test_a_fault_is_outlived_and_the_statement_runs_once(
    redshift: RedshiftData, redshift_data: Service, operation: str, fault: str
) -> None:
    redshift_data.fail(operation, fault)
    assert list(redshift.rows("SELECT 1 AS one")) == [(1,)]
    assert redshift_data.calls.count(operation) >= 2
    assert len(redshift_data.statements.all) == 1


def test_a_workgroup_that_is_busy_is_waited_for(redshift: RedshiftData, redshift_data: Service) -> None:
    redshift_data.busy = 3
    assert list(redshift.rows("SELECT 1 AS one")) == [(1,)]


def test_a_failed_statement_is_told_with_its_text(redshift: RedshiftData, redshift_data: Service) -> None:
    redshift_data.statements.fail("numbers", "Disk Full")
    with pytest.raises(StatementError, match=r"Redshift: ERROR: Disk Full\nSELECT 1 AS numbers"):
        redshift.run("SELECT 1 AS numbers")


def test_a_long_statement_is_shown_in_part_and_one_too_long_is_not_sent(
    redshift: RedshiftData, redshift_data: Service
) -> None:
    with pytest.raises(StatementError) as failed:
        redshift.run(f"SELECT {'x' * 50_000}")
    assert len(str(failed.value)) < 2.1 * remote_statements.MOST_SHOWN
    with pytest.raises(StatementError, match="100009 bytes are more"):
        redshift.run(f"SELECT '{'x' * 100_000}'")
    assert len(redshift_data.statements.all) == 1


def test_a_statement_past_its_time_is_cancelled(redshift_data: Service) -> None:
    redshift_data.statements.slow_seconds = 30
    with pytest.raises(StatementTimeoutError, match="no end after 0 seconds"):
        RedshiftData("clickstream", "run", 0.2).run("SELECT 1 AS one")
    (statement,) = redshift_data.statements.all
    assert statement.outcome == "cancelled"


def test_an_interrupted_wait_cancels_the_statement(redshift: RedshiftData, redshift_data: Service) -> None:
    redshift_data.statements.slow_seconds = 30
    threading.Timer(0.5, os.kill, [os.getpid(), signal.SIGINT]).start()
    with pytest.raises(KeyboardInterrupt):
        redshift.run("SELECT 1 AS one")
    (statement,) = redshift_data.statements.all
    assert statement.outcome == "cancelled"


def test_the_same_statement_of_another_run_runs_anew(redshift: RedshiftData, redshift_data: Service) -> None:
    for each in (redshift, redshift, RedshiftData("clickstream", "another run", 10)):
        each.run("SELECT 1 AS one")
    assert len(redshift_data.statements.all) == 2


def test_threads_may_share_it(redshift: RedshiftData, redshift_data: Service) -> None:
    redshift_data.statements.slow_seconds = 0.2
    answers: list[object] = []
    threads = [
        threading.Thread(target=lambda n=number: answers.extend(redshift.rows(f"SELECT {n} AS n")))
        for number in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [(0,), (1,), (2,), (3,)]
